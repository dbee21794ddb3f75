//! The documents that a document may refer to by name and version range: `NAME@RANGE`.
//!
//! Two shelves are looked through in order: the files beside the document (its folder and the
//! folder `components` in it), then the catalogue built into the binary. The first shelf that holds
//! a version in the range wins, and there the highest version.
//!
//! A range is written as in Cargo (`1.2` means `^1.2`, `=1.2.3` exactly that, `>=1, <3`, `*`).
//! A bare `NAME` means the highest version that is no pre-release; a pre-release is only found by a
//! range that names one. Names are compared without case. A component and a workflow may share one.
//!
//! Nothing is read before the first question, because most documents ask none. Files that are no
//! documents of ours are passed over; those that do not parse are named when nothing is found.

pub mod catalogue;

use std::{
    cell::OnceCell,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use semver::{Version, VersionReq};
use traaviis_engine::expand;
use traaviis_model::{
    Text,
    document::{Format, read_tree, tree::Node},
};

use crate::document::read_text;

/// Files of one folder that are looked through; more is no folder of documents.
const FILES_MAX: usize = 1_000;
/// Name of the folder for components beside a document.
const COMPONENTS: &str = "components";

/// A document that can be referred to.
#[derive(Debug)]
pub struct Entry {
    /// Name as its author wrote it.
    pub name: Text,
    /// Version.
    pub version: Version,
    /// Whether it is to be merged rather than started.
    pub is_component: bool,
    /// The file, or its place in the catalogue.
    pub file: String,
    /// The document as written.
    pub tree: Node,
}

/// What one document may refer to.
#[derive(Debug)]
pub struct Library {
    folder: Option<PathBuf>,
    beside: OnceCell<Shelf>,
}

/// Documents from one place.
#[derive(Debug, Default)]
struct Shelf {
    entries: Vec<Entry>,
    /// Files that look like documents and do not parse.
    unreadable: Vec<String>,
}

/// What a document is looked for as: a component and a workflow may have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Workflow,
    Component,
}

impl Kind {
    fn other(self) -> Kind {
        match self {
            Kind::Workflow => Kind::Component,
            Kind::Component => Kind::Workflow,
        }
    }
}

static CATALOGUE: LazyLock<Shelf> = LazyLock::new(|| {
    let mut shelf = Shelf::default();
    catalogue::FILES.iter().for_each(|(file, text)| shelf.put(file, text));
    shelf
});

impl Library {
    /// Returns what a document in this file may refer to.
    pub fn beside(file: &Path) -> Library {
        let folder = file.parent().map(|it| match it.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => it.to_path_buf(),
        });
        Library { folder, beside: OnceCell::new() }
    }

    /// Returns the built-in catalogue alone.
    pub fn built_in() -> Library {
        Library { folder: None, beside: OnceCell::new() }
    }

    /// Returns the workflow that `NAME@RANGE` or `NAME` stands for; the error is one sentence.
    pub fn find(&self, reference: &str) -> Result<&Entry, String> {
        self.find_kind(reference, Kind::Workflow)
    }

    /// Returns a document of this kind; one of the other only if no shelf has such a one, so that
    /// it can be said what it is.
    fn find_kind(&self, reference: &str, kind: Kind) -> Result<&Entry, String> {
        let (name, range) = parse(reference)?;
        let beside = self.beside.get_or_init(|| self.read());
        for kind in [kind, kind.other()] {
            for shelf in [beside, &*CATALOGUE] {
                if let Some(entry) = shelf.highest(name, range.as_ref(), kind)? {
                    return Ok(entry);
                }
            }
        }
        Err(self.absent(reference, name))
    }

    fn absent(&self, reference: &str, name: &str) -> String {
        let beside = self.beside.get_or_init(Shelf::default);
        let known: Vec<String> = [beside, &*CATALOGUE]
            .into_iter()
            .flat_map(|shelf| shelf.named(name))
            .map(|it| format!("{} ({})", it.version, it.file))
            .collect();
        let mut message = match known.is_empty() {
            true => format!("there is no document `{name}`"),
            false => {
                format!("no version of `{name}` fits `{reference}`; there is {}", known.join(", "))
            }
        };
        if let (true, Some(folder)) = (known.is_empty(), &self.folder) {
            let folder = folder.display();
            message += &format!(" in `{folder}`, `{folder}/{COMPONENTS}` or the catalogue");
        }
        if !beside.unreadable.is_empty() {
            message += &format!("; `{}` could not be read", beside.unreadable.join("`, `"));
        }
        message
    }

    fn read(&self) -> Shelf {
        let mut shelf = Shelf::default();
        if let Some(folder) = &self.folder {
            shelf.read(folder);
            shelf.read(&folder.join(COMPONENTS));
        }
        shelf
    }
}

impl expand::Shelf for Library {
    fn find(&self, reference: &str) -> Result<expand::Found<'_>, String> {
        let entry = self.find_kind(reference, Kind::Component)?;
        Ok(expand::Found { file: &entry.file, tree: &entry.tree })
    }
}

impl Shelf {
    /// Takes in the documents of a folder; one that cannot be listed holds none.
    fn read(&mut self, folder: &Path) {
        let Ok(listed) = fs::read_dir(folder) else { return };
        let mut files: Vec<PathBuf> =
            listed.filter_map(|it| Some(it.ok()?.path())).filter(|it| is_document(it)).collect();
        files.sort();
        if files.len() > FILES_MAX {
            let (folder, count) = (folder.display(), files.len());
            let message =
                format!("{folder} ({count} files; at most {FILES_MAX} are looked through)");
            return self.unreadable.push(message);
        }
        for file in &files {
            // A document named without a folder has neighbours named without one.
            let name = file.strip_prefix(".").unwrap_or(file).display().to_string();
            match read_text(file) {
                Ok(text) => self.put(&name, &text),
                Err(_) => self.unreadable.push(name),
            }
        }
    }

    fn put(&mut self, file: &str, text: &str) {
        match read_tree(text, Format::of_path(Path::new(file))) {
            Ok(tree) => self.entries.extend(entry(file, tree)),
            Err(_) => self.unreadable.push(file.into()),
        }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |it| it.name.eq_ignore_ascii_case(name))
    }

    fn highest(
        &self,
        name: &str,
        range: Option<&VersionReq>,
        kind: Kind,
    ) -> Result<Option<&Entry>, String> {
        let fits = |it: &&Entry| match range {
            Some(range) => range.matches(&it.version),
            None => it.version.pre.is_empty(),
        };
        let named = || self.named(name).filter(|it| it.is_component == (kind == Kind::Component));
        let Some(best) = named().filter(fits).max_by(|a, b| a.version.cmp(&b.version)) else {
            return Ok(None);
        };
        let mut same = named().filter(|it| it.version == best.version);
        match (same.next(), same.next()) {
            (Some(first), Some(second)) => Err(format!(
                "`{name}` {} stands in two files, `{}` and `{}`; give one another version",
                best.version, first.file, second.file
            )),
            _ => Ok(Some(best)),
        }
    }
}

fn is_document(file: &Path) -> bool {
    let extension = file.extension().and_then(|it| it.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|it| it.eq_ignore_ascii_case(extension))
}

/// Returns name and range of a reference.
fn parse(reference: &str) -> Result<(&str, Option<VersionReq>), String> {
    let (name, range) = match reference.split_once('@') {
        Some((name, range)) => (name, Some(range)),
        None => (reference, None),
    };
    let range = range.map(|text| {
        VersionReq::parse(text).map_err(|error| {
            format!("`{text}` is not a range of versions ({error}); for example `{name}@1.2`")
        })
    });
    Ok((name, range.transpose()?))
}

/// Returns the head of a document; none for other files.
fn entry(file: &str, tree: Node) -> Option<Entry> {
    let text = |key: &str| tree.entry(key)?.1.to_value().as_str().map(Text::from);
    text("traaviis")?;
    let (name, version) = (text("name")?, text("version")?.parse().ok()?);
    let is_component = text("kind").as_deref() == Some("component");
    Some(Entry { name, version, is_component, file: file.into(), tree })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(COMPONENTS)).unwrap();
        for (file, text) in files {
            let text = match text.split_once(' ') {
                Some((name, version)) => {
                    format!("traaviis: \"1\"\nkind: component\nname: {name}\nversion: {version}\n")
                }
                None => text.to_string(),
            };
            fs::write(dir.path().join(file), text).unwrap();
        }
        dir
    }

    #[test]
    fn references_find_the_highest_version_that_fits() {
        let dir = folder(&[
            ("a.yaml", "Timer 1.2.0"),
            ("b.yaml", "Timer 1.10.0"),
            ("components/c.yml", "timer 2.0.0"),
            (
                "components/d.json",
                "{\"traaviis\":\"1\",\"name\":\"Gate\",\"version\":\"3.0.0-rc.1\"}",
            ),
            ("e.yaml", "Timer 2.1.0-beta.1"),
            ("connectors.yaml", "functions:"),
            ("notes.txt", "Timer 9.0.0"),
        ]);
        let library = Library::beside(&dir.path().join("host.yaml"));
        let find_any = |reference: &str| library.find_kind(reference, Kind::Component);
        let find = |reference: &str| find_any(reference).map(|it| it.version.to_string());
        for (reference, expected) in [
            ("Timer", "2.0.0"),
            ("TIMER@1", "1.10.0"),
            ("Timer@=1.2.0", "1.2.0"),
            ("Timer@~1.2", "1.2.0"),
            ("Timer@>=1, <3", "2.0.0"),
            ("Timer@*", "2.0.0"),
            ("Timer@2.1.0-beta.1", "2.1.0-beta.1"),
            ("Gate@3.0.0-rc.1", "3.0.0-rc.1"),
        ] {
            assert_eq!(find(reference).as_deref(), Ok(expected), "{reference}");
        }
        assert!(find_any("Timer").unwrap().is_component);
        assert!(!find_any("Gate@3.0.0-rc.1").unwrap().is_component);
        // As a workflow it is the one of the catalogue, which a component does not hide.
        assert!(!library.find("Timer").unwrap().is_component);
        for (reference, words) in [
            ("Timer@4", "no version of `Timer` fits `Timer@4`; there is 1.2.0 ("),
            ("Gate", "no version of `Gate` fits `Gate`; there is 3.0.0-rc.1 ("),
            ("Clock", "there is no document `Clock` in `"),
            ("Timer@one", "`one` is not a range of versions ("),
        ] {
            let error = find(reference).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn a_folder_of_too_many_files_is_not_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..=FILES_MAX {
            fs::write(dir.path().join(format!("{at}.yaml")), "").unwrap();
        }
        let error = Library::beside(&dir.path().join("host.yaml")).find("T").unwrap_err();
        assert!(error.contains("(1001 files; at most 1000 are looked through)"), "{error}");
    }

    #[test]
    fn doubles_and_unreadable_files_are_named() {
        let dir = folder(&[("a.yaml", "T 1.0.0"), ("b.yaml", "T 1.0.0"), ("c.yaml", "a: [")]);
        let library = Library::beside(&dir.path().join("host.yaml"));
        let error = library.find("T").unwrap_err();
        assert!(error.starts_with("`T` 1.0.0 stands in two files"), "{error}");
        let error = library.find("U").unwrap_err();
        assert!(error.ends_with("c.yaml` could not be read"), "{error}");
    }

    #[test]
    fn the_catalogue_holds_every_file_of_its_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
        let mut found = Vec::new();
        for folder in ["workflows", "components"] {
            let listed = fs::read_dir(root.join(folder)).into_iter().flatten();
            found.extend(
                listed
                    .map(|it| format!("catalogue/{folder}/{}", it.unwrap().file_name().display())),
            );
        }
        found.sort();
        let mut listed: Vec<_> =
            catalogue::FILES.iter().map(|(file, _)| file.to_string()).collect();
        listed.sort();
        assert_eq!(listed, found);
        assert_eq!(CATALOGUE.entries.len(), found.len(), "{:?}", CATALOGUE.unreadable);
        assert!(Library::built_in().find("Nothing").is_err());
    }
}
