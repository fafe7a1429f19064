"""The surface tagger of the ``tags`` prompter: patches of real surfaces, their features, and a linear head fitted in closed form."""
