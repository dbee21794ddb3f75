//! Secrets and keys in a directory: what is sealed, what opens, and what a rotation leaves behind.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use traaviis_model::{
    TenantCtx, Timestamp,
    limits::{KEY_VERSIONS_MAX, SECRET_BYTES_MAX, SECRETS_MAX},
};
use traaviis_ports::Secrets as _;
use traaviis_store::{Keys, LocalSecrets, RootSource, keys::Error};

const VALUE: &str = "sk_live_canary_51H";

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> World {
        World { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root.key")
    }

    fn secrets(&self) -> LocalSecrets {
        self.secrets_with(RootSource::File(self.root()))
    }

    fn secrets_with(&self, root: RootSource) -> LocalSecrets {
        LocalSecrets::new(Keys::new(&self.data(), root))
    }

    fn secret_file(&self, tenant: u128, name: &str) -> PathBuf {
        let tenant = TenantCtx::for_test(tenant).tenant().to_string();
        self.data().join("tenants").join(tenant).join("secrets").join(format!("{name}.json"))
    }

    fn key_file(&self, tenant: u128) -> PathBuf {
        let tenant = TenantCtx::for_test(tenant).tenant().to_string();
        self.data().join("system/keys").join(format!("{tenant}.json"))
    }
}

fn ctx() -> TenantCtx {
    TenantCtx::for_test(1)
}

fn now(second: i64) -> Timestamp {
    Timestamp(second * 1_000_000)
}

fn set(secrets: &LocalSecrets, name: &str, value: &str) {
    secrets.set(&ctx(), name, value, now(1)).unwrap();
}

/// Returns the value, or the error in brackets.
fn told(secrets: &LocalSecrets, name: &str) -> String {
    match secrets.reveal(&ctx(), name) {
        Ok(None) => "-".into(),
        Ok(Some(value)) => value.expose().into(),
        Err(error) => format!("[{error}]"),
    }
}

/// Returns the files below a folder that hold a text.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|it| it == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_secret_is_told_to_its_tenant_alone_and_rests_sealed() {
    let world = World::new();
    let secrets = world.secrets();
    assert_eq!(told(&secrets, "stripe"), "-");
    assert!(!world.root().exists() && !world.data().exists(), "reading makes nothing");

    set(&secrets, "stripe", VALUE);
    assert_eq!(told(&secrets, "stripe"), VALUE);
    assert_eq!(told(&world.secrets(), "stripe"), VALUE, "another process reads it, too");
    assert!(secrets.reveal(&TenantCtx::for_test(2), "stripe").unwrap().is_none());

    assert_eq!(holding(&world.data(), VALUE), Vec::<PathBuf>::new());
    let root = fs::read_to_string(world.root()).unwrap();
    let key = root.lines().find(|it| !it.starts_with('#')).unwrap();
    assert_eq!(holding(&world.data(), key), Vec::<PathBuf>::new());
    for path in [world.secret_file(1, "stripe"), world.key_file(1)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_secret_that_is_set_again_has_a_version_and_one_that_is_deleted_is_gone() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", "one");
    let first = fs::read(world.secret_file(1, "stripe")).unwrap();
    secrets.set(&ctx(), "stripe", "two", now(9)).unwrap();
    set(&secrets, "api", "three");
    let listed: Vec<_> =
        secrets.list(&ctx()).unwrap().into_iter().map(|it| it.1.unwrap()).collect();
    let shown: Vec<_> =
        listed.iter().map(|it| (&*it.name, it.version, it.updated_at, it.key)).collect();
    assert_eq!(shown, [("api", 1, Some(now(1)), 1), ("stripe", 2, Some(now(9)), 1)]);
    assert_eq!(told(&secrets, "stripe"), "two");

    // An older file under the newer version's number does not open.
    let text = String::from_utf8(first).unwrap().replace("\"version\": 1", "\"version\": 2");
    fs::write(world.secret_file(1, "stripe"), text).unwrap();
    assert!(told(&secrets, "stripe").contains("does not open"), "{}", told(&secrets, "stripe"));

    secrets.delete(&ctx(), "stripe").unwrap();
    assert_eq!(told(&secrets, "stripe"), "-");
    assert!(matches!(secrets.delete(&ctx(), "stripe"), Err(Error::Absent(_))));
}

#[test]
fn what_is_moved_or_changed_does_not_open_and_never_looks_unset() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    set(&secrets, "other", "x");
    let other = TenantCtx::for_test(2);
    secrets.set(&other, "stripe", "theirs", now(1)).unwrap();
    let text = fs::read_to_string(world.secret_file(1, "stripe")).unwrap();

    // As another secret, and as one of another tenant: both told by name, and by what seals them.
    let (mine, theirs) = (ctx().tenant().to_string(), other.tenant().to_string());
    fs::write(world.secret_file(1, "other"), &text).unwrap();
    assert!(told(&secrets, "other").contains("the file of something else"));
    fs::write(world.secret_file(1, "other"), text.replace("\"stripe\"", "\"other\"")).unwrap();
    assert!(told(&secrets, "other").contains("does not open"));
    fs::write(world.secret_file(2, "stripe"), text.replace(&mine, &theirs)).unwrap();
    let error = secrets.reveal(&other, "stripe").unwrap_err();
    assert!(error.to_string().contains("does not open") && !error.is_retryable(), "{error}");

    let cut = &text[..text.len() / 2];
    fs::write(world.secret_file(1, "stripe"), cut).unwrap();
    assert!(told(&secrets, "stripe").contains("is damaged"));
    let listed = secrets.list(&ctx()).unwrap();
    assert!(listed.iter().any(|it| it.0 == "stripe" && it.1.is_err()), "{listed:?}");
    // Setting it anew mends it.
    set(&secrets, "stripe", "new");
    assert_eq!(told(&secrets, "stripe"), "new");
}

#[test]
fn a_new_version_of_the_key_seals_and_the_old_one_still_opens() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    set(&secrets, "api", "a");
    let old = fs::read(world.secret_file(1, "stripe")).unwrap();
    assert_eq!(secrets.rotate(&ctx(), now(2)).unwrap(), (2, 2));
    assert_eq!((told(&secrets, "stripe"), told(&secrets, "api")), (VALUE.into(), "a".into()));
    let keys: Vec<_> = secrets.list(&ctx()).unwrap().into_iter().map(|it| it.1.unwrap()).collect();
    assert!(keys.iter().all(|it| it.key == 2 && it.version == 1), "{keys:?}");
    assert_ne!(fs::read(world.secret_file(1, "stripe")).unwrap(), old);

    // As a crash in the middle leaves it, or an older backup: sealed with the version before.
    fs::write(world.secret_file(1, "stripe"), old).unwrap();
    assert_eq!(told(&secrets, "stripe"), VALUE);
    let versions: Vec<_> =
        secrets.keys().list().unwrap().iter().map(|it| (it.version, it.is_newest)).collect();
    assert_eq!(versions, [(1, false), (2, true)]);
}

#[test]
fn a_new_root_key_wraps_everything_and_changes_nothing_that_is_sealed() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    secrets.set(&TenantCtx::for_test(2), "stripe", "theirs", now(1)).unwrap();
    secrets.rotate(&ctx(), now(1)).unwrap();
    let sealed = fs::read(world.secret_file(1, "stripe")).unwrap();
    let before = fs::read_to_string(world.root()).unwrap();

    assert_eq!(secrets.keys().rotate_root(now(2)).unwrap(), 3);
    let after = fs::read_to_string(world.root()).unwrap();
    let newest = secrets.keys().roots().unwrap().unwrap().newest().0.clone();
    assert!(secrets.keys().list().unwrap().iter().all(|it| it.root == newest));
    assert_eq!(fs::read(world.secret_file(1, "stripe")).unwrap(), sealed);
    assert_eq!(told(&secrets, "stripe"), VALUE);

    // The old root key is needed no more, and opens nothing.
    let new_alone = after.lines().take(3).map(|it| format!("{it}\n")).collect::<String>();
    fs::write(world.root(), new_alone).unwrap();
    assert_eq!(told(&secrets, "stripe"), VALUE);
    assert_eq!(secrets.check(&ctx()).unwrap().len(), 0);
    fs::write(world.root(), before).unwrap();
    assert!(told(&secrets, "stripe").contains("is wrapped with"), "{}", told(&secrets, "stripe"));
}

#[test]
fn keys_from_the_environment_are_wrapped_anew_once_both_are_given() {
    let world = World::new();
    let [old, new] = ["11", "22"].map(|it| format!("{it}{}", "0123456789abcde".repeat(5)));
    let [old, new] = [old, new].map(|it| it[..64].to_owned());
    let given = |text: String| world.secrets_with(RootSource::Given(text.into()));
    set(&given(old.clone()), "stripe", VALUE);
    let other = given(new.clone());
    let told_by_other = told(&other, "stripe");
    assert!(told_by_other.contains("the root key is missing"), "{told_by_other}");
    assert!(other.set(&ctx(), "stripe", "x", now(2)).is_err(), "nothing is set with a wrong key");
    assert!(other.rotate(&ctx(), now(2)).is_err());

    let both = given(format!("{new} {old}"));
    assert_eq!(told(&both, "stripe"), VALUE);
    assert_eq!(both.keys().rewrap(now(2)).unwrap(), 1);
    assert_eq!(both.keys().rewrap(now(3)).unwrap(), 0);
    assert_eq!(told(&other, "stripe"), VALUE);
    assert!(!world.root().exists());
}

#[test]
fn a_lost_root_key_is_told_and_never_made_anew() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    fs::remove_file(world.root()).unwrap();
    let error = secrets.reveal(&ctx(), "stripe").unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("is not there"), "{error}");
    for failed in [
        secrets.set(&ctx(), "stripe", "x", now(2)).map(drop),
        secrets.set(&ctx(), "other", "x", now(2)).map(drop),
        // A tenant without keys must not bring a root key in, either.
        secrets.set(&TenantCtx::for_test(2), "other", "x", now(2)).map(drop),
        secrets.rotate(&ctx(), now(2)).map(drop),
        secrets.keys().rotate_root(now(2)).map(drop),
        secrets.keys().rewrap(now(2)).map(drop),
    ] {
        assert_eq!(failed.unwrap_err().code(), "root_key_missing");
    }
    assert!(!world.root().exists());
    let closed = secrets.check(&ctx()).unwrap();
    assert_eq!(closed.iter().map(|it| &*it.0).collect::<Vec<_>>(), ["stripe"]);
}

#[test]
fn lost_keys_are_not_replaced_while_something_is_sealed_with_them() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    let keys = fs::read(world.key_file(1)).unwrap();
    fs::remove_file(world.key_file(1)).unwrap();
    assert!(secrets.set(&ctx(), "other", "x", now(2)).is_err());
    assert!(secrets.rotate(&ctx(), now(2)).is_err());
    // Put back from a backup, everything opens.
    fs::write(world.key_file(1), keys).unwrap();
    assert_eq!(told(&secrets, "stripe"), VALUE);
}

#[test]
fn a_changed_file_of_keys_is_damage() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    secrets.rotate(&ctx(), now(2)).unwrap();
    let text = fs::read_to_string(world.key_file(1)).unwrap();
    let body =
        text.split("\"body\": ").nth(1).unwrap().trim_end_matches(['\n', '}']).to_owned() + "}";
    assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{body}");
    for (from, to) in [("\"version\":2", "\"version\":3"), ("\"version\":1", "\"version\":2")] {
        let changed = body.replace(from, to);
        assert_ne!(changed, body);
        use sha2::Digest as _;
        let sum = |it: &str| -> String {
            sha2::Sha256::digest(it).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        // With a checksum that fits, as somebody would write it on purpose.
        let forged = text.replace(&body, &changed).replace(&sum(&body), &sum(&changed));
        fs::write(world.key_file(1), forged).unwrap();
        assert!(told(&secrets, "stripe").contains("damaged"), "{}", told(&secrets, "stripe"));
    }
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    let newer = newer.replace("\"checksum\": \"", "\"checksum\": \"2:");
    fs::write(world.key_file(1), newer).unwrap();
    assert!(told(&secrets, "stripe").contains("format `2`"), "{}", told(&secrets, "stripe"));
}

#[test]
fn names_and_values_have_bounds() {
    let world = World::new();
    let secrets = world.secrets();
    for name in ["", "Stripe", "../up", "a/b", "a.b", &"a".repeat(64)] {
        let error = secrets.set(&ctx(), name, "x", now(1)).unwrap_err();
        assert_eq!(error.code(), "secret_refused", "{name}");
        assert!(secrets.delete(&ctx(), name).is_err());
        assert_eq!(told(&secrets, name), "-");
    }
    let most = "x".repeat(SECRET_BYTES_MAX);
    set(&secrets, "most", &most);
    assert_eq!(told(&secrets, "most"), most);
    for value in ["", &format!("{most}x")] {
        assert!(matches!(secrets.set(&ctx(), "a", value, now(1)), Err(Error::Refused(_))));
    }
    // Files stand for secrets here; making a thousand takes a while.
    for number in 1..SECRETS_MAX {
        fs::copy(world.secret_file(1, "most"), world.secret_file(1, &format!("n{number}")))
            .unwrap();
    }
    assert!(matches!(secrets.set(&ctx(), "one_more", "x", now(1)), Err(Error::Refused(_))));
    set(&secrets, "most", "changed");
}

#[test]
fn a_tenant_has_so_many_versions_of_its_key() {
    let world = World::new();
    let secrets = world.secrets();
    set(&secrets, "stripe", VALUE);
    // One file of many versions, written as the last of them would be.
    let text = fs::read_to_string(world.key_file(1)).unwrap();
    let body =
        text.split("\"body\": ").nth(1).unwrap().trim_end_matches(['\n', '}']).to_owned() + "}";
    let mut many: serde_json::Value = serde_json::from_str(&body).unwrap();
    let first = many["keys"][0].clone();
    let keys = (1..=KEY_VERSIONS_MAX).map(|version| {
        let mut key = first.clone();
        key["version"] = version.into();
        key
    });
    many["keys"] = keys.collect();
    use sha2::Digest as _;
    let many = many.to_string();
    let sum = |it: &str| -> String {
        sha2::Sha256::digest(it).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let forged = text.replace(&body, &many).replace(&sum(&body), &sum(&many));
    fs::write(world.key_file(1), forged).unwrap();
    assert_eq!(secrets.keys().list().unwrap().len(), KEY_VERSIONS_MAX);
    assert!(secrets.rotate(&ctx(), now(2)).is_err());
}

#[test]
fn many_at_once_lose_nothing() {
    let world = World::new();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let secrets = world.secrets();
            scope.spawn(move || {
                for number in 0..8 {
                    set(&secrets, &format!("w{worker}_{number}"), &format!("{worker} {number}"));
                    set(&secrets, "shared", VALUE);
                    // Readers take no lock, and see a whole secret whatever is being changed.
                    assert_eq!(told(&secrets, "shared"), VALUE);
                    if number % 4 == worker {
                        secrets.rotate(&ctx(), now(2)).unwrap();
                        secrets.keys().rotate_root(now(2)).unwrap();
                    }
                }
            });
        }
    });
    let secrets = world.secrets();
    for (worker, number) in (0..4).flat_map(|it| (0..8).map(move |number| (it, number))) {
        assert_eq!(told(&secrets, &format!("w{worker}_{number}")), format!("{worker} {number}"));
    }
    let listed = secrets.list(&ctx()).unwrap();
    let shared = listed.iter().find(|it| it.0 == "shared").unwrap().1.as_ref().unwrap();
    assert_eq!(shared.version, 32);
    assert_eq!(secrets.keys().list().unwrap().len(), 9);
}
