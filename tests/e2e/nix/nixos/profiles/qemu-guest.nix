# In the place of nixpkgs' module, which sets what virtio needs.
{ }
