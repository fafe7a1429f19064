"""The deep-zoom viewer: a photo as a map that is drawn where somebody looks (extra ``viewer``)."""
