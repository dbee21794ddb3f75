//! Which values of a line are large, and how a line refers to them.
//!
//! ```text
//! {"tenant_id":..,"instance_id":..,"seq":7,"v":3,..,"data":{"$blob":{"sha256":"..","bytes":N}},
//!  "blobs":[412]}
//! ```
//!
//! (On one line.) `blobs`, always last, says at which byte of the line each reference begins. So a
//! value that looks like a reference is none, and nothing has to be escaped. Releases that know
//! nothing of this refuse the line, because its `v` is higher.
//!
//! A value is large when its text, without the large values in it, is longer than a limit. The text
//! of a large value stands in its blob whole, so no blob refers to another.

use std::ops::Range;

use traaviis_model::record::{BLOB_VERSIONS, RECORD_VERSION, SEALED_VERSION};

use crate::{files::unhex_into, line};

/// SHA-256 of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hash(pub(super) [u8; 32]);

/// A reference in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    at: Range<usize>,
    pub hash: Hash,
    pub bytes: u64,
}

const HEAD: &[u8] = b"{\"$blob\":{\"sha256\":\"";
const MIDDLE: &[u8] = b"\",\"bytes\":";
const TAIL: &[u8] = b"}}";
/// What stands before the list of places.
const LIST: &[u8] = b",\"blobs\":[";
/// Bytes of a reference, about.
const REFERENCE_BYTES: usize = HEAD.len() + 64 + MIDDLE.len() + 9 + TAIL.len();
/// The versions of a line without blobs, and with.
const VERSIONS: [(u32, u32); 2] =
    [(RECORD_VERSION, BLOB_VERSIONS[0]), (SEALED_VERSION, BLOB_VERSIONS[1])];

/// A value that is being read.
struct Open {
    start: usize,
    /// Bytes of large values in it, less those of their references.
    less: usize,
    /// Large values found before it.
    found: usize,
}

/// Finds the large values of a line, in order; none in what is no JSON object.
pub(crate) fn large(line: &[u8], limit: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    // A line without a version could not say that something was cut out of it.
    if line.len() <= limit || !VERSIONS.iter().any(|it| line::has_version(line, it.0)) {
        return found;
    }
    let mut open: Vec<Open> = Vec::new();
    let (mut at, mut is_key) = (0, false);
    while at < line.len() {
        let start = at;
        match line[at] {
            b'{' | b'[' => {
                is_key = line[at] == b'{';
                open.push(Open { start, less: 0, found: found.len() });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                let Some(it) = open.pop() else { return Vec::new() };
                // The line itself stays.
                let Some(around) = open.last_mut() else { break };
                if at - it.start - it.less > limit {
                    found.truncate(it.found);
                    found.push(it.start..at);
                    around.less += (at - it.start).saturating_sub(REFERENCE_BYTES);
                } else {
                    around.less += it.less;
                }
            }
            b'"' => {
                let Some(end) = end_of_text(line, at) else { return Vec::new() };
                at = end;
                let is_value = !is_key || line.get(at) != Some(&b':');
                if is_value && at - start > limit {
                    let Some(around) = open.last_mut() else { return Vec::new() };
                    found.push(start..at);
                    around.less += (at - start).saturating_sub(REFERENCE_BYTES);
                }
            }
            b',' | b':' => {
                is_key = line[at] == b',';
                at += 1;
            }
            _ => at += 1,
        }
    }
    match open.is_empty() && at == line.len() {
        true => found,
        false => Vec::new(),
    }
}

/// Returns where the text ends that begins at a quote.
fn end_of_text(line: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', line.get(at..)?)?;
        match line[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Appends a line to `out` with references in the place of values.
pub(crate) fn write(line: &[u8], values: &[(Range<usize>, Hash)], out: &mut Vec<u8>) {
    let start = out.len();
    let (mut from, mut places) = (0, Vec::with_capacity(values.len()));
    for (value, hash) in values {
        out.extend_from_slice(&line[from..value.start]);
        places.push((out.len() - start).to_string());
        out.extend_from_slice(HEAD);
        out.extend_from_slice(hash.to_string().as_bytes());
        out.extend_from_slice(MIDDLE);
        out.extend_from_slice(value.len().to_string().as_bytes());
        out.extend_from_slice(TAIL);
        from = value.end;
    }
    out.extend_from_slice(line[from..].strip_suffix(b"}").unwrap_or(&line[from..]));
    out.extend_from_slice(LIST);
    out.extend_from_slice(places.join(",").as_bytes());
    out.extend_from_slice(b"]}");
    for (plain, with) in VERSIONS {
        if line::set_version(&mut out[start..], plain, with) {
            return;
        }
    }
}

/// Reads the references of a line; none when it is a line without any.
pub(crate) fn references(line: &[u8]) -> Option<Vec<Reference>> {
    let (list, places) = list_of(line)?;
    if !BLOB_VERSIONS.iter().any(|it| line::has_version(line, *it)) {
        return None;
    }
    let mut found: Vec<Reference> = Vec::new();
    for place in places.split(',') {
        let start: usize = place.parse().ok()?;
        let reference = reference(line, start)?;
        let follows = found.last().is_none_or(|it| it.at.end <= start);
        if !follows || reference.at.end > list {
            return None;
        }
        found.push(reference);
    }
    Some(found)
}

/// Returns where the list of places begins, and the places.
fn list_of(line: &[u8]) -> Option<(usize, &str)> {
    let head = line.strip_suffix(b"]}")?;
    let start = memchr::memrchr(b'[', head)? + 1;
    let list = head[..start].strip_suffix(LIST)?.len();
    Some((list, str::from_utf8(&head[start..]).ok()?))
}

fn reference(line: &[u8], start: usize) -> Option<Reference> {
    let rest = line.get(start..)?.strip_prefix(HEAD)?;
    let (digits, rest) = rest.split_at_checked(64)?;
    let mut hash = [0; 32];
    if !unhex_into(str::from_utf8(digits).ok()?, &mut hash) {
        return None;
    }
    let rest = rest.strip_prefix(MIDDLE)?;
    let end = memchr::memchr(b'}', rest)?;
    let bytes = str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let rest = rest[end..].strip_prefix(TAIL)?;
    Some(Reference { at: start..line.len() - rest.len(), hash: Hash(hash), bytes })
}

/// Returns a line with its values in it again.
pub(crate) fn whole(line: &[u8], references: &[Reference], values: &[Vec<u8>]) -> Vec<u8> {
    let end = list_of(line).map_or(line.len(), |(list, _)| list);
    let bytes: usize = values.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(end + bytes + 1);
    let mut from = 0;
    for (reference, value) in references.iter().zip(values) {
        out.extend_from_slice(&line[from..reference.at.start]);
        out.extend_from_slice(value);
        from = reference.at.end;
    }
    out.extend_from_slice(&line[from..end]);
    out.push(b'}');
    for (plain, with) in VERSIONS {
        if line::set_version(&mut out, with, plain) {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const LIMIT: usize = 200;

    /// Cuts a body, shows what is cut out, and compares what is read again.
    fn check(body: &str, expect: Expect) {
        let line = format!(r#"{{"tenant_id":"t","instance_id":"i","seq":7,"v":1,{body}}}"#);
        let line = line.as_bytes();
        let spans = large(line, LIMIT);
        let mut shown = String::new();
        for it in &spans {
            let text = str::from_utf8(&line[it.clone()]).unwrap();
            shown += &format!("{} bytes {}..{}\n", text.len(), &text[..4], &text[text.len() - 4..]);
        }
        let values: Vec<Vec<u8>> = spans.iter().map(|it| line[it.clone()].to_vec()).collect();
        let named: Vec<_> =
            spans.iter().map(|it| (it.clone(), Hash::of(&line[it.clone()]))).collect();
        if !named.is_empty() {
            let mut cut = Vec::new();
            write(line, &named, &mut cut);
            serde_json::from_slice::<serde_json::Value>(&cut).unwrap();
            shown += &format!("{} bytes stay\n", cut.len());
            let references = references(&cut).unwrap();
            assert_eq!(whole(&cut, &references, &values), line);
        }
        assert_eq!(references(line), None);
        expect.assert_eq(&shown);
    }

    fn text(count: usize) -> String {
        format!("\"{}\"", "x".repeat(count))
    }

    #[test]
    fn a_long_text_is_cut_where_it_stands() {
        check(
            &format!(r#""data":{{"a":1,"text":{}}}"#, text(300)),
            expect![[r#"
                302 bytes "xxx..xxx"
                184 bytes stay
            "#]],
        );
        check(
            &format!(r#""data":{}"#, text(199)),
            expect![[r#"
                201 bytes "xxx..xxx"
                169 bytes stay
            "#]],
        );
        check(&format!(r#""data":{}"#, text(198)), expect![""]);
    }

    #[test]
    fn many_small_values_are_cut_together() {
        let list = vec![text(28); 10].join(",");
        check(
            &format!(r#""data":{{"list":[{list}],"a":1}}"#),
            expect![[r#"
                311 bytes ["xx..xx"]
                184 bytes stay
            "#]],
        );
    }

    #[test]
    fn large_values_in_a_value_do_not_make_it_large() {
        let (long, short) = (text(300), text(40));
        check(
            &format!(r#""data":{{"b":{short},"c":[{long}]}}"#),
            expect![[r#"
                302 bytes "xxx..xxx"
                225 bytes stay
            "#]],
        );
        let rest = text(190);
        check(
            &format!(r#""data":{{"a":{long},"b":{rest}}},"c":{long}"#),
            expect![[r#"
                505 bytes {"a"..xx"}
                302 bytes "xxx..xxx"
                277 bytes stay
            "#]],
        );
    }

    #[test]
    fn what_looks_like_a_reference_is_none() {
        let hash = "ab".repeat(32);
        let like = format!(r#"{{"$blob":{{"sha256":"{hash}","bytes":9}}}}"#);
        check(
            &format!(r#""data":{like},"text":{}"#, text(300)),
            expect![[r#"
                302 bytes "xxx..xxx"
                275 bytes stay
            "#]],
        );
        check(&format!(r#""data":{like},"blobs":[56]"#), expect![""]);
    }

    #[test]
    fn quotes_and_braces_in_texts_are_texts() {
        let body = format!(r#""a}}\\\"{{[":"]}}\"","b":{}"#, text(300).replace("xx", r#"\\\"]"#));
        check(
            &body,
            expect![[r#"
                752 bytes "\\\..\"]"
                184 bytes stay
            "#]],
        );
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        let long = text(300);
        for line in [
            long.clone(),
            format!("{{\"a\":{long}"),
            format!("{{\"a\":{long}}}]"),
            format!("[{long}"),
        ] {
            assert_eq!(large(line.as_bytes(), LIMIT), Vec::<Range<usize>>::new(), "{line}");
        }
    }

    #[test]
    fn lists_that_lie_are_no_references() {
        let line = |list: &str| {
            format!(
                r#"{{"seq":7,"v":3,"data":{{"$blob":{{"sha256":"{}","bytes":9}}}},"blobs":[{list}]}}"#,
                "ab".repeat(32)
            )
        };
        let it = references(line("22").as_bytes()).unwrap();
        assert_eq!((it[0].bytes, it[0].at.clone()), (9, 22..119));
        for lie in ["", "21", "22,22", "9999999", "22,", "-1", "99999999999999999999999"] {
            assert_eq!(references(line(lie).as_bytes()), None, "{lie}");
        }
        assert_eq!(references(line("22").replace(r#""v":3"#, r#""v":1"#).as_bytes()), None);
    }
}
