"""Training of the pocket backbone: a small generator that invents what words say, and the critics that teach it."""
