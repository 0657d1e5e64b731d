//! What the package index says of a package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One paragraph of the index, as `apt-cache show` prints it; the same in `firmware.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The package's name.
    pub name: String,
    /// Its version, with the epoch.
    pub version: String,
    /// Its architecture, `arm64` or `all`.
    pub architecture: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// The size of its file, in bytes.
    pub size: u64,
    /// Where its file lies below the archive's address: `pool/main/…`.
    pub file: String,
    /// The packages it needs (`Pre-Depends` and `Depends`), alternatives in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
}

impl Record {
    /// Reads all paragraphs; those without name, version or hash are passed over.
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.split("\n\n").filter_map(Self::parse).collect()
    }

    fn parse(paragraph: &str) -> Option<Self> {
        // Continuation lines begin with a blank; none of the fields wanted here has any.
        let fields: BTreeMap<&str, &str> = paragraph
            .lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_once(": "))
            .collect();
        let field = |name: &str| fields.get(name).map(|value| value.trim().to_owned());
        let depends = ["Pre-Depends", "Depends"]
            .into_iter()
            .filter_map(|name| fields.get(name))
            .flat_map(|list| list.split([',', '|']))
            .filter_map(package_name)
            .collect();
        Some(Self {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            sha256: field("SHA256")?,
            size: field("Size").and_then(|size| size.parse().ok()).unwrap_or_default(),
            file: field("Filename").unwrap_or_default(),
            depends,
        })
    }

    /// The name that `apt-get download` gives the file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}

/// `libc6:any (>= 2.38) [arm64]` → `libc6`
fn package_name(dependency: &str) -> Option<String> {
    let name = dependency.trim().split([' ', '(', '[']).next()?;
    let name = name.split(':').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TWO: &str = "\
Package: busybox
Version: 1:1.37.0-6+b9
Architecture: arm64
Depends: libc6 (>= 2.38), libresolv | libc6:any (>= 1) [arm64]
Pre-Depends: dpkg (>= 1.15)
Description: Tiny utilities for small systems
 Depends: this is only prose
SHA256: 38bc

Package: udhcpc
Version: 1.0
Filename: pool/main/b/busybox/udhcpc_1.0_all.deb
Size: 8192
Architecture: all
SHA256: 00ff
";

    #[test]
    fn a_record_has_the_names_of_what_it_depends_on() {
        let records = Record::parse_all(TWO);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].depends, ["dpkg", "libc6", "libresolv", "libc6"]);
        assert_eq!(records[1].depends, Vec::<String>::new());
        assert_eq!(records[1].file, "pool/main/b/busybox/udhcpc_1.0_all.deb");
        assert_eq!(records[1].size, 8192);
    }

    #[test]
    fn an_epoch_is_escaped_in_the_file_name_as_apt_does_it() {
        let record = Record::parse_all(TWO).remove(0);
        assert_eq!(record.file_name(), "busybox_1%3a1.37.0-6+b9_arm64.deb");
    }

    #[test]
    fn a_paragraph_without_hash_is_no_record() {
        assert_eq!(Record::parse_all("Package: x\nVersion: 1\nArchitecture: all\n"), []);
    }
}
