# What images, hosts and payloads agree on: docs/formats/guest.md and docs/formats/prepared.md.
#
# The Rust code has the same words; a test holds both against each other. No nixpkgs is needed to evaluate this.
rec {
  # The version of the guest contract that our images keep.
  version = 1;

  # The unprivileged user of a guest, and the number of its group as well.
  user = "pikaci";
  userId = 1000;

  # Shares: written by nobody.
  snapshot = "/workspace/snapshot";
  staged = "/staged";
  workspaceDeps = "/staged/linux-rust/workspace-deps";
  workspaceBuild = "/staged/linux-rust/workspace-build";

  # The guest's own, written by the job.
  writable = [
    "/artifacts"
    "/cargo-home"
    "/cargo-target"
  ];

  # Where commands find the guest runner in every image.
  runBinary = "/run/current-system/sw/bin/pikaci-incus-run";

  # What an image says of itself.
  properties = {
    contract = "pikaci.contract";
    contractId = "pikaci.contract-id";
    revision = "pikaci.revision";
    runnerDigest = "pikaci.runner-sha256";
    version = "pikaci.version";
  };

  payloadManifest = "share/pikaci/payload-manifest.json";

  # The contract id of what is linked against this C library. Its store path is a digest of everything that it was built
  # of, so it stands for the loader, which is in it, and for the closure of both.
  contractId =
    libc: "glibc-" + builtins.hashString "sha256" (builtins.unsafeDiscardStringContext "${libc}");

  # The contract id of what asks for no loader.
  staticContractId = "static";
}
