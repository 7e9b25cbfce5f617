//! What surrounds instances, on the real daemon: server, projects, images, storage, networks, certificates.

use std::collections::BTreeMap;

use incus_client::{
    Client, Error, ExecOutput, ExecRequest, Filter, HttpsSettings, ImageImport, NewCertificate, NewInstance,
    NewNetwork, NewPool, NewProfile, NewProject, fingerprint_of_certificate,
};

use crate::https::certificate;
use crate::world::{World, config, socket, unique, write_image};

#[tokio::test]
async fn the_server_says_what_it_is() {
    let client = Client::unix(socket());
    let server = client.server().await.unwrap();
    assert!(server.is_trusted());
    assert!(server.version().unwrap() >= (6, 0), "{:?}", server.version());
    assert!(server.environment.driver.contains("lxc"));
    assert!(server.api_extensions.iter().any(|extension| extension == "instance_all_projects"));
    client.warnings().await.unwrap();
    client.operations().await.unwrap();
}

#[tokio::test]
async fn a_project_is_made_changed_and_removed() {
    let client = Client::unix(socket());
    let name = unique("ic-");
    let project =
        NewProject { name: name.clone(), config: config([("user.one", "1")]), ..NewProject::default() };
    client.create_project(&project).await.unwrap();
    let error = client.create_project(&project).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    client.patch_project(&name, &config([("limits.instances", "3"), ("user.one", "")])).await.unwrap();
    let found = client.find_project(&name).await.unwrap();
    assert_eq!(found.value.config.get("limits.instances").map(String::as_str), Some("3"));
    assert!(!found.value.config.contains_key("user.one"), "{:?}", found.value.config);
    // What was not named stays: above all that the project has images of its own.
    assert_eq!(found.value.config.get("features.images").map(String::as_str), Some("true"));
    let state = client.project_state(&name).await.unwrap();
    let usage = state.resources["instances"];
    assert_eq!((usage.limit, usage.usage), (3, 0));
    assert!(client.projects().await.unwrap().iter().any(|project| project.name == name));
    client.delete_project(&name).await.unwrap();
    for error in [
        client.find_project(&name).await.map(|_| ()).unwrap_err(),
        client.delete_project(&name).await.unwrap_err(),
        client.project_state(&name).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
    }
}

#[tokio::test]
async fn a_profile_is_made_replaced_and_removed() {
    let world = World::start().await;
    let profile =
        NewProfile { name: "p/1 x".to_owned(), config: config([("user.a", "1")]), ..NewProfile::default() };
    // A slash is refused by the server, and does not become a path.
    let error = world.client.create_profile(&profile).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
    let mut profile = NewProfile { name: "p1".to_owned(), ..profile };
    world.client.create_profile(&profile).await.unwrap();
    let error = world.client.create_profile(&profile).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    profile.config = config([("user.b", "2")]);
    world.client.put_profile(&profile).await.unwrap();
    let found = world.client.profile("p1").await.unwrap();
    assert_eq!(found.value.config, profile.config);
    let names: Vec<String> =
        world.client.profiles().await.unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["default", "p1"]);
    world.client.delete_profile("p1").await.unwrap();
    assert!(world.client.profile("p1").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_image_is_imported_named_and_removed() {
    let world = World::start().await;
    let client = &world.client;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    write_image(&file, &unique("serial-"));
    let properties = [("release".to_owned(), "a & b = c/d".to_owned())].into();
    let import = ImageImport { properties, file_name: "tiny\nimage.tar".to_owned() };
    let one = client.import_image(&file, &import).await.unwrap();
    let image = client.image(&one[..12]).await.unwrap();
    assert_eq!(image.fingerprint, one);
    assert_eq!(image.properties["release"], "a & b = c/d");
    assert_eq!(image.properties["os"], "busybox");
    let error = client.import_image(&file, &import).await.unwrap_err();
    assert!(matches!(error, Error::OperationFailed { .. }), "{error}");
    std::fs::write(&file, "no image").unwrap();
    let error = client.import_image(&file, &import).await.unwrap_err();
    assert!(matches!(error, Error::OperationFailed { .. }), "{error}");

    let two = world.image().await;
    assert!(client.resolve_alias("team/dev").await.unwrap_err().is_not_found());
    client.set_alias("team/dev", &one).await.unwrap();
    assert_eq!(client.resolve_alias("team/dev").await.unwrap(), one);
    client.set_alias("team/dev", &two).await.unwrap();
    assert_eq!(client.resolve_alias("team/dev").await.unwrap(), two);
    let error = client.create_alias("team/dev", &one).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let listed = client.aliases().await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "team/dev"));
    let named = client.image(&two).await.unwrap();
    assert_eq!(named.aliases[0].name, "team/dev");
    client.delete_alias("team/dev").await.unwrap();
    assert!(client.delete_alias("team/dev").await.unwrap_err().is_not_found());

    assert_eq!(client.images().await.unwrap().len(), 2);
    client.delete_image(&one).await.unwrap();
    assert!(client.image(&one).await.unwrap_err().is_not_found());
    assert!(client.delete_image(&one).await.unwrap_err().is_not_found());
    // Nobody else's project has seen any of it.
    assert!(client.with_project("default").image(&two).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_storage_pool_and_its_volumes_are_made_and_removed() {
    let world = World::start().await;
    let client = &world.client;
    let pool = NewPool { name: world.project.clone(), driver: "dir".to_owned(), config: BTreeMap::new() };
    client.create_pool(&pool).await.unwrap();
    let error = client.create_pool(&pool).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(client.pool(&pool.name).await.unwrap().driver, "dir");
    assert!(client.pools().await.unwrap().iter().any(|known| known.name == pool.name));
    let space = client.pool_resources(&pool.name).await.unwrap().space;
    assert!(space.used <= space.total && space.total > 0, "{space:?}");
    client.create_volume(&pool.name, "cache", &config([("user.a", "1")])).await.unwrap();
    let error = client.create_volume(&pool.name, "cache", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let volumes = client.volumes(&pool.name).await.unwrap();
    assert_eq!((volumes[0].name.as_str(), volumes[0].kind.as_str()), ("cache", "custom"));
    client.delete_volume(&pool.name, "cache").await.unwrap();
    assert!(client.volumes(&pool.name).await.unwrap().is_empty());
    assert!(client.delete_volume(&pool.name, "cache").await.unwrap_err().is_not_found());
    client.delete_pool(&pool.name).await.unwrap();
    assert!(client.pool(&pool.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_bridge_is_made_changed_and_removed() {
    let world = World::empty(&socket());
    let client = world.client.with_project("default");
    let bridge = NewNetwork {
        name: world.project.clone(),
        kind: "bridge".to_owned(),
        config: config([("ipv4.address", "none"), ("ipv6.address", "none")]),
        description: String::new(),
    };
    client.create_network(&bridge).await.unwrap();
    let error = client.create_network(&bridge).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    client.patch_network(&bridge.name, &config([("user.a", "1")])).await.unwrap();
    let found = client.network(&bridge.name).await.unwrap();
    assert!(found.managed && found.kind == "bridge");
    assert_eq!((found.config["user.a"].as_str(), found.config["ipv4.address"].as_str()), ("1", "none"));
    client.delete_network(&bridge.name).await.unwrap();
    assert!(client.network(&bridge.name).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_server_that_is_alone_has_no_members() {
    let client = Client::unix(socket());
    let error = client.cluster_members().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_restricted_certificate_sees_its_own_project_and_no_other() {
    let (world, other) = (World::start().await, World::start().await);
    world.container("one").await;
    let own = certificate();
    let fingerprint = fingerprint_of_certificate(&own.cert.pem()).unwrap();
    let trusted = NewCertificate::restricted(&world.project, &own.cert.pem(), [&world.project]).unwrap();
    world.client.create_certificate(&trusted).await.unwrap();
    let error = world.client.create_certificate(&trusted).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    let known = world.client.certificates().await.unwrap();
    let known = known.into_iter().find(|known| known.fingerprint == fingerprint).unwrap();
    assert!(known.restricted && known.projects == [world.project.clone()]);

    let server = world.client.server().await.unwrap();
    let address = match server.config.get("core.https_address") {
        Some(address) => address.clone(),
        None => {
            // Only whoever listens can choose a free port, so it is chosen for it. It stays, for the tests of others.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            world.client.patch_server(&config([("core.https_address", &free.to_string())])).await.unwrap();
            free.to_string()
        }
    };
    let settings = HttpsSettings {
        url: format!("https://{address}"),
        client_certificate: own.cert.pem(),
        client_key: own.signing_key.serialize_pem(),
        server_certificate: server.environment.certificate,
    };
    let remote = Client::new(settings.endpoint().unwrap()).with_project(&world.project);
    assert!(remote.server().await.unwrap().is_trusted());
    let seen: Vec<String> =
        remote.projects().await.unwrap().into_iter().map(|project| project.name).collect();
    assert_eq!(seen, [world.project.as_str()]);
    assert_eq!(remote.instances(&Filter::all()).await.unwrap().len(), 1);
    let error = remote.with_project(&other.project).instance("one").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. } | Error::NotFound { .. }), "{error}");
    let error = remote.create_project(&NewProject { name: unique("ic-"), ..NewProject::default() }).await;
    assert!(matches!(error, Err(Error::Refused { status: 403, .. })), "{error:?}");

    // Operations and streams work over HTTPS as they do on the socket.
    let mut exec = remote.exec("one", &ExecRequest::new(["cat"])).await.unwrap();
    exec.write("hello").await.unwrap();
    exec.close_stdin().await.unwrap();
    assert_eq!(exec.read().await.unwrap(), Some(ExecOutput::Stdout("hello".into())));
    assert_eq!(exec.wait().await.unwrap(), 0);
    let image = remote.images().await.unwrap().remove(0).fingerprint;
    remote.create_instance(&NewInstance::container("two", image)).await.unwrap();
    remote.destroy_instance("two").await.unwrap();

    world.client.delete_certificate(&fingerprint).await.unwrap();
    assert!(world.client.delete_certificate(&fingerprint).await.unwrap_err().is_not_found());
    let error = remote.instances(&Filter::all()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 403, .. }), "{error}");
    assert!(!remote.server().await.unwrap().is_trusted());
}
