//! The bill of materials of an image, as CycloneDX 1.6 in JSON: each Debian package with the
//! files of it that are in the image, each crate in our programs, and Rust's own library.
//!
//! Nothing in it depends on when or where it is made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::closure::OWN;
use crate::manifest::{Crate, Manifest, Programs, StandardLibrary};

/// The document.
///
/// `programs` are what the image's own programs are made of, `version` is the firmware's.
#[must_use]
pub fn document(manifest: &Manifest, programs: &Programs, version: &str) -> Value {
    let mut files = files_by_package(manifest);
    let mut components: Vec<Value> = Vec::new();
    for package in &manifest.packages {
        let purl = format!(
            "pkg:deb/debian/{}@{}?arch={}&distro={}",
            escape(&package.name),
            escape(&package.version),
            manifest.architecture,
            manifest.suite
        );
        components.push(json!({
            "type": "library",
            "bom-ref": purl,
            "supplier": { "name": "Debian" },
            "name": package.name,
            "version": package.version,
            "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
            "purl": purl,
            "components": files.remove(package.name.as_str()).unwrap_or_default(),
        }));
    }
    let StandardLibrary { name, version: std_version } = &programs.standard_library;
    let purl = format!(
        "pkg:deb/debian/{}@{}?arch={}",
        escape(name),
        escape(std_version),
        manifest.architecture
    );
    components.push(json!({
        "type": "library",
        "bom-ref": purl,
        "supplier": { "name": "Debian" },
        "name": name,
        "version": std_version,
        "description": "Rust's standard library, linked into peercam's programs",
        "purl": purl,
    }));
    for Crate { name, version, licence, sha256 } in &programs.crates {
        let purl = format!("pkg:cargo/{}@{}", escape(name), escape(version));
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        });
        if !licence.is_empty() {
            // Before SPDX expressions there was a slash.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        if let Some(sha256) = sha256 {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
        }
        components.push(component);
    }
    // What is built or written here.
    components.extend(files.remove(OWN).unwrap_or_default());

    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": format!("peercam-{}", manifest.board),
                "name": format!("peercam-{}", manifest.board),
                "version": version,
                "hashes": [{ "alg": "SHA-256", "content": manifest.image_sha256 }],
            },
        },
        "components": components,
    })
}

fn files_by_package(manifest: &Manifest) -> BTreeMap<&str, Vec<Value>> {
    let mut files: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for part in &manifest.parts {
        for file in &part.files {
            files.entry(&file.package).or_default().push(json!({
                "type": "file",
                "bom-ref": format!("{}:/{}", part.name, file.path),
                "name": format!("/{}", file.path),
                "properties": [
                    { "name": "peercam:part", "value": part.name },
                    { "name": "peercam:bytes", "value": file.bytes.to_string() },
                ],
            }));
        }
    }
    files
}

/// As package URLs want it: what is neither letter, digit nor one of `.-_~:` as `%XX`.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_version_is_escaped_for_a_package_url() {
        assert_eq!(super::escape("1:2.0+deb13u1~x"), "1:2.0%2Bdeb13u1~x");
    }
}
