"""The pocket backbone's training pictures: free photographs and photographic surfaces, brought from package registries and captioned."""
