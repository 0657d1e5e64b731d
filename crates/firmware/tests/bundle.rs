//! `bundle`: updates as rauc makes and checks them, with keys of all kinds.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Ended, Tree};
use peercam_firmware::bundle::{Error, inspect};
use peercam_firmware::hash;

const BUNDLE: [&str; 3] = ["bundle", "--board", "camera"];

/// A tree with what `build` makes for a slot.
fn tree() -> Tree {
    let bytes = |length: u32, seed: u32| -> Vec<u8> {
        (0..length).map(|at| ((at ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    };
    Tree::new()
        .file("out/camera/build/boot.slot", bytes(300_000, 1))
        .file("out/camera/build/root.slot", bytes(700_000, 2))
}

fn bundle(tree: &Tree, arguments: &[&str]) -> Ended {
    tree.run(&[&BUNDLE[..], arguments].concat())
}

fn openssl(tree: &Tree, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(tree.path(".")).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `NAME.key` and `NAME.pem`, self-signed.
fn make_key(tree: &Tree, name: &str) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    openssl(
        tree,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &certificate,
        ],
    );
}

/// The bundles that are there, whole or not.
fn left_over(tree: &Tree) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    names(&tree.path("out/camera")).into_iter().filter(|name| name != "build").collect()
}

#[test]
fn a_bundle_says_what_is_in_it_to_whoever_has_the_signer_in_his_keyring() {
    let tree = tree();
    make_key(&tree, "company");
    make_key(&tree, "stranger");
    let arguments = ["--key", "company.key", "--certificate", "company.pem", "--release", "1.4.2"];
    let ended = bundle(&tree, &[&arguments[..], &["--json"]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    let report: serde_json::Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(report["development"], false);
    let path = tree.path("out/camera/peercam-camera-1.4.2.raucb");
    assert_eq!(report["path"], path.to_str().unwrap());

    let info = inspect(&path, &tree.path("company.pem")).unwrap();
    assert_eq!((info.compatible.as_str(), info.version.as_str()), ("camera", "1.4.2"));
    for (image, name, bytes) in
        [(&info.images[0], "boot", 300_000), (&info.images[1], "root", 700_000)]
    {
        assert_eq!((image.slot.as_str(), image.bytes), (name, bytes));
        let original = tree.path(&format!("out/camera/build/{name}.slot"));
        assert_eq!(image.sha256, hash::file(&original).unwrap());
    }
    let refused = inspect(&path, &tree.path("stranger.pem"));
    assert!(matches!(refused, Err(Error::Unverified { .. })), "{refused:?}");

    // Once more, over the old one.
    assert_eq!(bundle(&tree, &arguments).code(), 0);
    assert_eq!(left_over(&tree), ["peercam-camera-1.4.2.raucb"]);
}

#[test]
fn the_development_key_is_made_once_kept_from_others_and_says_what_it_is() {
    let tree = tree();
    let ended = bundle(&tree, &["--release", "1.0"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(ended.stderr().contains("not for cameras in the field"), "{}", ended.stderr());
    assert!(
        ended.stdout().ends_with("peercam-camera-1.0-DEVELOPMENT.raucb\n"),
        "{}",
        ended.stdout()
    );
    let folder = tree.path("config/peercam/development-update-key");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("key.pem")), 0o600);
    let certificate = folder.join("certificate.pem");
    let subject = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-in"])
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&subject.stdout).contains("DEVELOPMENT"));

    // The next bundle is signed with the same one, also when it is named like any other.
    let key = std::fs::read(folder.join("key.pem")).unwrap();
    let named = ["--key", "config/peercam/development-update-key/key.pem"];
    let certificate = ["--certificate", "config/peercam/development-update-key/certificate.pem"];
    let ended = bundle(&tree, &[&named[..], &certificate, &["--json"]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
    assert!(ended.stdout().contains("\"development\": true"), "{}", ended.stdout());
    assert!(ended.stdout().contains("-DEVELOPMENT.raucb"), "{}", ended.stdout());
    assert_eq!(bundle(&tree, &[]).code(), 0);
    assert_eq!(std::fs::read(folder.join("key.pem")).unwrap(), key);

    let shared = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.join("key.pem"), shared).unwrap();
    let ended = bundle(&tree, &[]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("others may read"), "{}", ended.stderr());
}

#[test]
fn a_key_in_a_pkcs11_token_signs_and_only_with_its_pin() {
    let modules = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
    let Some(module) = modules.into_iter().find(|module| Path::new(module).exists()) else {
        eprintln!("SKIPPED: SoftHSM is not here; scripts/setup firmware installs it");
        return;
    };
    let tree = tree();
    make_key(&tree, "company");
    std::fs::create_dir(tree.path("tokens")).unwrap();
    let config = tree.path("softhsm.conf");
    let text = format!("directories.tokendir = {}\n", tree.path("tokens").display());
    std::fs::write(&config, text).unwrap();
    openssl(&tree, &["pkcs8", "-topk8", "-nocrypt", "-in", "company.key", "-out", "company.p8"]);
    for arguments in [
        &["--init-token", "--free", "--label", "updates", "--pin", "1234", "--so-pin", "4321"][..],
        &[
            "--import",
            "company.p8",
            "--token",
            "updates",
            "--label",
            "signer",
            "--id",
            "01",
            "--pin",
            "1234",
        ],
    ] {
        let mut tool = Command::new("softhsm2-util");
        tool.args(arguments).env("SOFTHSM2_CONF", &config).current_dir(tree.path("."));
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    for (pin, code) in [("9999", 1), ("1234", 0)] {
        let output = Command::new(env!("CARGO_BIN_EXE_peercam-firmware"))
            .args(BUNDLE)
            .args(["--key", "pkcs11:token=updates;object=signer"])
            .args(["--certificate", "company.pem", "--output", "update.raucb"])
            .current_dir(tree.path("."))
            .env("XDG_CACHE_HOME", tree.path("cache"))
            .env("XDG_CONFIG_HOME", tree.path("config"))
            .env("SOFTHSM2_CONF", &config)
            .env("RAUC_PKCS11_MODULE", module)
            .env("RAUC_PKCS11_PIN", pin)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert_eq!(stderr.contains("PIN incorrect"), code == 1, "{stderr}");
    }
    inspect(&tree.path("update.raucb"), &tree.path("company.pem")).unwrap();
}

#[test]
fn a_key_that_is_not_the_certificates_signs_nothing() {
    let tree = tree();
    make_key(&tree, "company");
    make_key(&tree, "stranger");
    let ended = bundle(&tree, &["--key", "stranger.key", "--certificate", "company.pem"]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("the key must be the certificate's"), "{}", ended.stderr());
    assert_eq!(left_over(&tree), [""; 0]);
}

#[test]
fn a_signer_that_an_authority_vouches_for_is_checked_with_the_authoritys_certificate() {
    let tree = tree();
    make_key(&tree, "authority");
    openssl(
        &tree,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=signer",
            "-keyout",
            "signer.key",
            "-out",
            "signer.csr",
        ],
    );
    openssl(
        &tree,
        &[
            "x509",
            "-req",
            "-in",
            "signer.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-set_serial",
            "2",
            "-days",
            "2",
            "-out",
            "signer.pem",
        ],
    );
    let signer = ["--key", "signer.key", "--certificate", "signer.pem"];
    let ended = bundle(&tree, &signer);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("with --keyring"), "{}", ended.stderr());
    assert_eq!(left_over(&tree), [""; 0]);
    let ended = bundle(&tree, &[&signer[..], &["--keyring", "authority.pem"]].concat());
    assert_eq!(ended.code(), 0, "{}", ended.stderr());
}

#[test]
fn whatever_is_changed_in_a_bundle_is_noticed() {
    let tree = tree();
    make_key(&tree, "company");
    let arguments = ["--key", "company.key", "--certificate", "company.pem"];
    assert_eq!(bundle(&tree, &[&arguments[..], &["--output", "update.raucb"]].concat()).code(), 0);
    let (bundle, keyring) = (tree.path("update.raucb"), tree.path("company.pem"));
    let whole = std::fs::read(&bundle).unwrap();
    let length = whole.len();
    // The signed manifest is at the end; so are the signature and its length.
    let find = |words: &[u8]| whole.windows(words.len()).rposition(|part| part == words).unwrap();
    for place in [find(b"compatible=camera") + 11, find(b"sha256="), length - 12, length - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(&bundle, &changed).unwrap();
        assert!(inspect(&bundle, &keyring).is_err(), "byte {place} of {length}");
    }
    for length in [0, 100, length / 2, length - 1] {
        std::fs::write(&bundle, &whole[..length]).unwrap();
        assert!(inspect(&bundle, &keyring).is_err(), "cut off after {length}");
    }
    // What is in the images the signature covers by the root of a hash tree, which the camera
    // checks while it reads; rauc does here when it unpacks.
    let unpacked = |bytes: &[u8], folder: &str| {
        std::fs::write(&bundle, bytes).unwrap();
        let status = Command::new("rauc")
            .arg("extract")
            .arg(format!("--keyring={}", keyring.display()))
            .args([&bundle, &tree.path(folder)])
            .output()
            .unwrap()
            .status;
        status.success()
    };
    assert!(unpacked(&whole, "whole"));
    let mut changed = whole.clone();
    changed[5000] ^= 1;
    assert!(!unpacked(&changed, "changed"));
}

#[test]
fn what_is_missing_or_wrong_is_said_with_the_way_out() {
    let ended = bundle(&Tree::new(), &[]);
    assert_eq!(ended.code(), 1);
    assert!(ended.stderr().contains("build --board camera"), "{}", ended.stderr());
    let tree = tree();
    for version in ["", "1.0\n[image.x]", "a b", &"1".repeat(65)] {
        let ended = bundle(&tree, &["--release", version]);
        assert_eq!(ended.code(), 1, "{version:?}");
        assert!(ended.stderr().contains("can't be the version"), "{}", ended.stderr());
    }
    for (arguments, words) in [
        (&["--key", "company.key"][..], "--certificate"),
        (&["--key", "no.key", "--certificate", "no.pem"], "no.key: No such file"),
        (&["--key", "pkcs11:object=a", "--certificate", "pkcs11:object=a"], "by --keyring"),
    ] {
        let ended = bundle(&tree, arguments);
        assert_eq!(ended.code(), 2, "{}", ended.stderr());
        assert!(ended.stderr().contains(words), "{}", ended.stderr());
    }
    assert_eq!(left_over(&tree), [""; 0]);
}
