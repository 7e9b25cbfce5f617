# In the place of nixpkgs' module, which leaves documentation out.
{ }
