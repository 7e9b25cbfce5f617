# As much of nixpkgs' lib as our Nix files use, for machines that cannot have nixpkgs.
#
# The module system checks what the real one checks: an option that nobody declared, a value of the wrong type, two values
# for one option, and priorities.
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    filter
    foldl'
    hasAttr
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    listToAttrs
    map
    mapAttrs
    ;

  priority = {
    default = 1000;
    plain = 100;
    force = 50;
    # Of an option's own default.
    option = 1500;
  };

  has = type: value: isAttrs value && value ? _type && value._type == type;

  # Moves conditions and priorities from a set of attributes to each of them, without asking whether they hold.
  pushDown =
    value:
    if has "merge" value then
      concatMap pushDown value.contents
    else if has "if" value then
      map (mapAttrs (_: content: lib.mkIf value.condition content)) (pushDown value.content)
    else if has "override" value then
      map (mapAttrs (_: lib.mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # The values that hold, with their priorities.
  discharge =
    value:
    if has "merge" value then
      concatMap discharge value.contents
    else if has "if" value then
      if value.condition then discharge value.content else [ ]
    else if has "override" value then
      map (found: found // { inherit (value) priority; }) (discharge value.content)
    else
      [
        {
          inherit value;
          priority = priority.plain;
        }
      ];

  # Those of the highest priority, which has the lowest number.
  strongest =
    found:
    let
      least = foldl' (least: one: if one.priority < least then one.priority else least) 10000 found;
    in
    map (one: one.value) (filter (one: one.priority == least) found);

  merged = name: type: definitions: type.merge name (strongest (concatMap discharge definitions));

  allNames = sets: attrNames (foldl' (names: set: names // set) { } sets);

  definitionsOf =
    name: sets:
    map (set: set.${name}) (filter (hasAttr name) sets);

  wrong = name: type: value: throw "${name}: ${builtins.toJSON value} is not of the type ${type}";

  one =
    type: check: name: values:
    if !all check values then
      wrong name type (filter (value: !check value) values)
    else if !all (value: value == head values) values then
      throw "${name} has two values: ${builtins.toJSON values}"
    else
      head values;

  scalar = type: check: { merge = one type check; };

  # Evaluates a tree of options against the sets that define values for it.
  tree =
    path: options: sets:
    let
      unknown = filter (name: !hasAttr name options) (allNames sets);
    in
    if unknown != [ ] then
      throw "no option is called ${path}${head unknown}"
    else
      mapAttrs (
        name: option:
        let
          definitions = definitionsOf name sets;
          full = "${path}${name}";
        in
        if has "option" option then
          let
            default = if option ? default then [ (lib.mkOverride priority.option option.default) ] else [ ];
            found = definitions ++ default;
          in
          if concatMap discharge found == [ ] then
            throw "${full} is used and not defined"
          else
            merged full option.type found
        else
          tree "${full}." option (concatMap pushDown definitions)
      ) options;

  lib = {
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkForce = lib.mkOverride priority.force;
    mkDefault = lib.mkOverride priority.default;

    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: text;

    types = rec {
      bool = scalar "boolean" isBool;
      int = scalar "integer" isInt;
      str = scalar "text" isString;
      package = scalar "package" (value: isAttrs value && value ? outPath);
      listOf = type: {
        merge =
          name: values:
          if all isList values then
            map (value: merged name type [ value ]) (concatLists values)
          else
            wrong name "list" values;
      };
      attrsOf = type: {
        merge =
          name: values:
          let
            sets = concatMap pushDown values;
            kept = filter (key: concatMap discharge (definitionsOf key sets) != [ ]) (allNames sets);
          in
          if all isAttrs sets then
            listToAttrs (
              map (key: {
                name = key;
                value = merged "${name}.${key}" type (definitionsOf key sets);
              }) kept
            )
          else
            wrong name "set" values;
      };
      nullOr = type: {
        merge =
          name: values: if all isNull values then null else type.merge name (filter (value: !isNull value) values);
      };
      # Any value that a file format knows: sets and lists are put together.
      anything = {
        merge =
          name: values:
          if all isList values then
            concatLists values
          else if all (value: isAttrs value && !(value ? outPath)) values then
            (attrsOf anything).merge name values
          else
            one "anything" (_: true) name values;
      };
      submodule = options: { merge = name: values: tree "${name}." options (concatMap pushDown values); };
    };

    evalModules =
      {
        modules,
        options,
        arguments,
      }:
      let
        loaded =
          module:
          let
            value = if isPath module || isString module then import module else module;
            set = if isFunction value then value ({ inherit config lib; } // arguments) else value;
            isLong = set ? options || set ? config;
          in
          concatMap loaded (set.imports or [ ])
          ++ [
            {
              options = set.options or { };
              config = if isLong then set.config or { } else removeAttrs set [ "imports" ];
            }
          ];
        all = concatMap loaded modules;
        declared = foldl' lib.recursiveUpdate options (map (module: module.options) all);
        config = tree "" declared (concatMap (module: pushDown module.config) all);
      in
      config;

    recursiveUpdate =
      left: right:
      left
      // mapAttrs (
        name: value:
        if isAttrs value && !(value ? _type) && hasAttr name left && isAttrs left.${name} then
          lib.recursiveUpdate left.${name} value
        else
          value
      ) right;

    concatMap = concatMap;
    concatStringsSep = builtins.concatStringsSep;
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    mapAttrsToList = function: set: map (name: function name set.${name}) (attrNames set);
    genAttrs =
      names: function:
      listToAttrs (
        map (name: {
          inherit name;
          value = function name;
        }) names
      );
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    fileset = {
      unions =
        paths:
        let
          missing = filter (path: !builtins.pathExists path) paths;
        in
        if missing == [ ] then paths else throw "${toString (head missing)} is not there";
      toSource = { root, fileset }: builtins.seq fileset root;
    };
    escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
    escapeShellArgs = texts: lib.concatStringsSep " " (map lib.escapeShellArg texts);
    makeBinPath = packages: lib.concatStringsSep ":" (map (package: "${package}/bin") packages);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
in
lib
