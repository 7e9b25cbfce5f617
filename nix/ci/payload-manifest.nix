# The text of a payload manifest, docs/formats/prepared.md. Refuses what a reader would refuse, when it is evaluated.
{
  name,
  contractId,
  # { name, path, kind } each; paths start at the output's root.
  entries,
}:
let
  fail = message: throw "payload manifest of ${name}: ${message}";

  isId = text: builtins.match "[A-Za-z0-9][A-Za-z0-9._-]{0,63}" text != null;

  isInside =
    path:
    let
      parts = builtins.filter builtins.isString (builtins.split "/" path);
    in
    builtins.all (part: part != "" && part != "." && part != "..") parts;

  checked =
    entry:
    if !isId entry.name then
      fail "${builtins.toJSON entry.name} is no name"
    else if !isInside entry.path then
      fail "${builtins.toJSON entry.path} does not stay within the output"
    else
      { inherit (entry) name path kind; };

  names = map (entry: entry.name) entries;
  isOnce = name: builtins.length (builtins.filter (other: other == name) names) == 1;
in
if !isId name then
  fail "that is no name"
else if !builtins.all isOnce names then
  fail "two entries have one name"
else
  builtins.toJSON {
    schema_version = 1;
    inherit name;
    contract_id = contractId;
    entries = map checked entries;
  }
