# In the place of nixpkgs' function: says what it was asked for.
arguments: {
  outPath = "@disk@";
  asked = removeAttrs arguments [
    "config"
    "lib"
    "pkgs"
  ];
}
