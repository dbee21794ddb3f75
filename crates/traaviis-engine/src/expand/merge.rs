//! Adds a component to the document that uses it.

use traaviis_model::{
    Text,
    document::tree::{Key, Node, NodeKind},
};

use super::{
    Finding, Rename, cases, empty_map, expression, finding, key_like, map_values, parameters, put,
    rename::each, retext, text_at,
};

/// What every expression may read, and so what the value of a parameter may.
const READABLE: &[&str] = &["data", "input", "tenant", "workflow", "now", "param"];

/// Says whether the state that is to take a region has none yet.
pub(super) fn needs_regions(host: &Node, item: &Node) -> bool {
    let at = text_at(item, "at").map(|it| without_hash(it));
    let state = at.iter().flat_map(|it| it.split('.')).try_fold(host, |state, name| {
        let (_, states) = state.entry("states")?;
        states.entry(name).map(|(_, it)| it)
    });
    let kind = state.map(|it| text_at(it, "type").map_or("", |it| &**it));
    is_region(item) && kind == Some("")
}

/// Says whether a component becomes a region of its own.
pub(super) fn is_region(item: &Node) -> bool {
    text_at(item, "mode").is_some_and(|it| &**it == "region")
}

/// Returns `part` with the names it has in the document that uses it as `item` says.
pub(super) fn prepare(item: &Node, prefix: &str, part: &Node) -> Result<Node, Vec<Finding>> {
    let params = values(item, part).map_err(|it| vec![it])?;
    let place = Place::of(item, prefix);
    let mut found = Vec::new();
    let mut rename = Rename {
        prefix: Some(prefix),
        above: place.above,
        exits: exits(item, part, &mut found),
        events: pairs(item, "events").collect(),
        params: Some(&params),
        moved: None,
        here: Vec::new(),
        tops: tops(part),
        in_named_effect: false,
        found,
        met: Default::default(),
    };
    let mut renamed = renamed(&mut rename, part);
    keep_waivers(&mut renamed);
    let mut found = rename.found;
    for (theirs, _) in pairs(item, "events").filter(|(it, _)| !rename.met.contains(it)) {
        let message = format!("the component has no event `{theirs}`");
        found.push(finding("E121", item.entry("events").map_or(item, |(_, it)| it), message));
    }
    if found.is_empty() { Ok(renamed) } else { Err(found) }
}

/// Moves the waivers of a component to its states, since it has no document of its own any more.
fn keep_waivers(part: &mut Node) {
    let Some((key, waivers)) = part.entry("x-waive").cloned() else { return };
    let Some(NodeKind::Map(states)) = part.entry_mut("states").map(|it| &mut it.kind) else {
        return;
    };
    for (_, state) in states {
        let mut merged = waivers.clone();
        let own = state.entry("x-waive").map(|(_, it)| it.clone());
        for (code, reason) in own.iter().flat_map(Node::entries) {
            put(&mut merged, code.clone(), reason.clone());
        }
        put(state, key.clone(), merged);
    }
}

/// Adds what was prepared to `host`; returns what keeps that from being possible.
///
/// States of the host that exits lead to are added to `ends`, because a later component may bring
/// them.
pub(super) fn merge(
    host: &mut Node,
    item: &Node,
    prefix: &str,
    part: &Node,
    ends: &mut Vec<(Text, Node)>,
) -> Vec<Finding> {
    let at = item.entry("targets").map_or(item, |(_, it)| it);
    ends.extend(pairs(item, "targets").map(|(_, path)| (without_hash(&path), at.clone())));
    let mapped = pairs(item, "events").map(|(_, ours)| ours).collect();
    let mut host = Host { host, item, mapped, found: Vec::new() };
    host.states(part, &Place::of(item, prefix), prefix);
    host.events(part);
    host.section(part, "effects", "effect");
    host.list(part, "validations");
    host.list(part, "triggers");
    host.data(part, prefix);
    if text_at(item, "tests").is_none_or(|it| &**it == "merge") {
        host.tests(part);
    }
    host.found
}

/// Where the states of a component go.
struct Place {
    /// Path of the state that takes them; none for the document itself.
    at: Option<Text>,
    is_region: bool,
    /// What stands before their names in a path.
    above: String,
}

impl Place {
    fn of(item: &Node, prefix: &str) -> Place {
        let is_region = is_region(item);
        let at = text_at(item, "at").map(|it| without_hash(it));
        let mut above = at.as_ref().map(|it| format!("{it}.")).unwrap_or_default();
        if is_region {
            above += &format!("{prefix}.");
        }
        Place { at, is_region, above }
    }
}

pub(super) fn without_hash(path: &str) -> Text {
    path.strip_prefix('#').unwrap_or(path).into()
}

/// Says whether a document has a state at this path.
pub(super) fn has_path(tree: &Node, path: &str) -> bool {
    let states = |it: &Node| it.entry("states").map(|(_, it)| it.clone());
    let found = path.split('.').try_fold(states(tree), |at, name| {
        let at = at?;
        let (_, state) = at.entry(name)?;
        Some(states(state))
    });
    found.is_some()
}

/// Returns the values of the parameters.
fn values(item: &Node, part: &Node) -> Result<Node, Finding> {
    let nothing = empty_map(item);
    let with = item.entry("with").map_or(&nothing, |(_, it)| it);
    if let Some(name) = expression::variables(with).iter().find(|it| !READABLE.contains(&&***it)) {
        let message = format!("the value of a parameter cannot read `{name}`");
        return Err(finding("E131", with, message)
            .hint("it can read `data`, `input`, `tenant`, `workflow` and `now`"));
    }
    let schema = part.entry("parameters").map(|(_, it)| it);
    parameters(schema, with).map_err(|errors| {
        let at = item.entry("with").map_or(item, |(_, it)| it);
        finding("E121", at, format!("the parameters do not fit: {errors}"))
    })
}

/// Returns where the exits lead.
fn exits(
    item: &Node,
    part: &Node,
    found: &mut Vec<Finding>,
) -> std::collections::BTreeMap<Text, Option<Text>> {
    let exits = part.entry("exits").map_or(&[][..], |(_, it)| it.items());
    let names: Vec<&Text> = exits.iter().filter_map(Node::as_text).collect();
    let at = item.entry("targets").map_or(item, |(_, it)| it);
    for (name, _) in pairs(item, "targets") {
        if !names.contains(&&name) {
            let message = format!("the component has no exit `{name}`");
            found.push(finding("E121", at, message));
        }
    }
    let bound = |name: &Text| pairs(item, "targets").find(|(it, _)| it == name).map(|(_, it)| it);
    for name in names.iter().filter(|it| bound(it).is_none()) {
        let message = format!("the exit `{name}` of the component leads nowhere");
        let hint = "name a state for it in `targets`";
        found.push(finding("E121", at, message).hint(hint));
    }
    let path = |name| bound(name).map(|it| without_hash(&it));
    names.iter().map(|name| ((*name).clone(), path(name))).collect()
}

fn pairs<'n>(item: &'n Node, key: &str) -> impl Iterator<Item = (Text, Text)> + 'n {
    let entries = item.entry(key).map_or(&[][..], |(_, it)| it.entries());
    entries.iter().filter_map(|(key, it)| Some((key.text.clone(), it.as_text()?.clone())))
}

/// Returns a component with all of its names replaced.
pub(super) fn renamed<'a>(rename: &mut Rename<'a>, part: &'a Node) -> Node {
    map_values(part, |key, it| match key {
        "states" => rename.states(it, &mut Vec::new()),
        "initial" => match &it.kind {
            NodeKind::List(items) => {
                let items = items.iter().map(|it| initial(rename, it)).collect();
                Node { kind: NodeKind::List(items), ..*it }
            }
            _ => initial(rename, it),
        },
        "events" => {
            let entries = it.entries().iter().map(|(key, it)| {
                let name = rename.descriptor(&key.text).swap_remove(0);
                (Key { text: name, ..*key }, it.clone())
            });
            Node { kind: NodeKind::Map(entries.collect()), ..*it }
        }
        "effects" => {
            rename.in_named_effect = true;
            let entries = it.entries().iter().map(|(key, it)| {
                (Key { text: rename.prefixed(&key.text), ..*key }, rename.effect(it))
            });
            let kind = NodeKind::Map(entries.collect());
            rename.in_named_effect = false;
            Node { kind, ..*it }
        }
        "validations" => {
            let items = it.items().iter().map(|it| validation(rename, it)).collect();
            Node { kind: NodeKind::List(items), ..*it }
        }
        "data" => map_values(it, |key, it| match key {
            "initial" => rename.template(it),
            _ => it.clone(),
        }),
        "tests" => cases::tests(rename, it, part.entry("initial").map(|(_, it)| it)),
        "triggers" | "subscribe" => each(it, |it| heard(rename, it)),
        "output" => rename.template(it),
        "migrations" => each(it, |it| migration(rename, it)),
        _ => it.clone(),
    })
}

/// Renames a trigger or subscription; the events they name are those of others.
fn heard(rename: &mut Rename<'_>, it: &Node) -> Node {
    map_values(it, |key, it| match key {
        "match" => rename.cel(it),
        "as" => rename.event_name(it),
        "event" => it.clone(),
        _ => rename.template(it),
    })
}

fn migration(rename: &mut Rename<'_>, it: &Node) -> Node {
    map_values(it, |key, it| match key {
        "states" => map_values(it, |_, it| match it.as_text() {
            Some(text) => retext(it, rename.path(text).into()),
            None => it.clone(),
        }),
        "defer_when" => rename.cel(it),
        "data" => rename.template(it),
        _ => it.clone(),
    })
}

/// Returns the names of the states at the top.
pub(super) fn tops(part: &Node) -> Vec<Text> {
    let states = part.entry("states").map_or(&[][..], |(_, it)| it.entries());
    states.iter().map(|(key, _)| key.text.clone()).collect()
}

/// Renames where an entry of `components` stands and leads, when states have gone elsewhere.
pub(super) fn moved_item(item: &Node, moved: &super::wrap::Moved) -> Node {
    let path = |it: &Node| match it.as_text() {
        Some(text) => retext(it, moved.path(text).into()),
        None => it.clone(),
    };
    map_values(item, |key, it| match key {
        "at" => path(it),
        "targets" => map_values(it, |_, it| path(it)),
        _ => it.clone(),
    })
}

fn initial(rename: &Rename<'_>, it: &Node) -> Node {
    let name = |text: &Text| match rename.moved {
        Some(moved) => moved.initial(&[], text),
        None => rename.prefixed(text),
    };
    it.as_text().map_or_else(|| it.clone(), |text| retext(it, name(text)))
}

/// Renames a validation; for a component, all events are those of the component.
fn validation(rename: &mut Rename<'_>, it: &Node) -> Node {
    let mut renamed = map_values(it, |key, it| match key {
        "name" => it.as_text().map_or_else(|| it.clone(), |text| retext(it, rename.prefixed(text))),
        "events" => {
            let names = match &it.kind {
                NodeKind::List(items) => items.iter().collect(),
                _ => vec![it],
            };
            let names = names.into_iter().filter_map(Node::as_text);
            let names: Vec<Text> = names.flat_map(|text| rename.descriptor(text)).collect();
            texts(it, names)
        }
        "check" => rename.cel(it),
        "message" => rename.template(it),
        _ => it.clone(),
    });
    if rename.prefix.is_some() && it.entry("events").is_none() {
        let names = rename.descriptor("*");
        put(&mut renamed, key_like("events", it), texts(it, names));
    }
    renamed
}

fn texts(at: &Node, names: Vec<Text>) -> Node {
    Node { kind: NodeKind::List(names.into_iter().map(|it| retext(at, it)).collect()), ..*at }
}

/// The document that is added to.
struct Host<'a> {
    host: &'a mut Node,
    item: &'a Node,
    /// Names of the host that events of the component got.
    mapped: Vec<Text>,
    found: Vec<Finding>,
}

impl Host<'_> {
    fn states(&mut self, part: &Node, place: &Place, prefix: &str) {
        let (at, is_region) = (place.at.as_deref(), place.is_region);
        let place = self.item.entry("at").map_or(self.item, |(_, it)| it);
        let (Some((_, states)), Some((_, initial))) = (part.entry("states"), part.entry("initial"))
        else {
            return;
        };
        let path = at.map_or_else(Vec::new, |it| it.split('.').collect());
        let mut state = &mut *self.host;
        for name in path {
            let below = state.entry_mut("states").and_then(|it| it.entry_mut(name));
            let Some(below) = below else {
                let at = at.unwrap_or_default();
                let message = format!("`{at}` is no state of this document");
                let finding = finding("E102", place, message);
                return self.found.push(finding.hint("write its path from the top"));
            };
            state = below;
        }
        let kind = text_at(state, "type").map(|it| it.to_string()).unwrap_or_default();
        let wrong = match (is_region, &*kind) {
            (_, "final" | "history") => Some("a final or history state takes no component"),
            (true, _) | (false, "") => None,
            (false, _) => Some("a parallel state takes a component only with `mode: region`"),
        };
        if let Some(message) = wrong {
            return self.found.push(finding("E120", place, message));
        }
        if is_region {
            let parts = vec![
                (key_like("initial", initial), initial.clone()),
                (key_like("states", states), states.clone()),
            ];
            let region = Node { kind: NodeKind::Map(parts), ..*states };
            let region = vec![(key_like(prefix, states), region)];
            let region = Node { kind: NodeKind::Map(region), ..*states };
            self.found.extend(add(state, "states", "state", &region, self.item));
        } else {
            if state.entry("states").is_none() {
                put(state, key_like("initial", initial), initial.clone());
            }
            self.found.extend(add(state, "states", "state", states, self.item));
        }
    }

    fn events(&mut self, part: &Node) {
        let Some((_, events)) = part.entry("events") else { return };
        for (key, it) in events.entries() {
            let is_merged =
                it.entry("merge").is_some_and(|(_, it)| matches!(it.kind, NodeKind::Bool(true)));
            if is_merged {
                let message = "an event of a component cannot be merged into `data`";
                let hint = "write an action `merge` where the event is taken";
                self.found.push(finding("E120", it, message).hint(hint));
            }
            let is_mapped = self.mapped.contains(&key.text);
            let has =
                self.host.entry("events").is_some_and(|(_, it)| it.entry(&key.text).is_some());
            if !(is_mapped && has) {
                let one = Node { kind: NodeKind::Map(vec![(key.clone(), it.clone())]), ..*it };
                self.found.extend(add(self.host, "events", "event", &one, self.item));
            }
        }
    }

    fn section(&mut self, part: &Node, section: &str, what: &str) {
        if let Some((_, it)) = part.entry(section) {
            self.found.extend(add(self.host, section, what, it, self.item));
        }
    }

    fn list(&mut self, part: &Node, section: &str) {
        let Some((_, added)) = part.entry(section) else { return };
        self.items(section, added, added.items().to_vec());
    }

    fn tests(&mut self, part: &Node) {
        let Some((_, added)) = part.entry("tests") else { return };
        let tests = cases::with_input(added, self.host);
        self.items("tests", added, tests);
    }

    fn items(&mut self, section: &str, at: &Node, added: Vec<Node>) {
        if added.is_empty() {
            return;
        }
        if self.host.entry(section).is_none() {
            let none = Node { kind: NodeKind::List(Vec::new()), ..*at };
            put(self.host, key_like(section, at), none);
        }
        if let Some(NodeKind::List(items)) = self.host.entry_mut(section).map(|it| &mut it.kind) {
            items.extend(added);
        }
    }

    /// Puts the data of the component under its prefix, and its schema likewise.
    fn data(&mut self, part: &Node, prefix: &str) {
        let own = part.entry("data").map(|(_, it)| it);
        let at = own.unwrap_or(self.item);
        let section = |name: &str| own.and_then(|it| it.entry(name)).map(|(_, it)| it.clone());
        let nothing = empty_map(at);
        let data = below(self.host, "data", at);
        let initial = below(data, "initial", at);
        if !super::is_map(initial) {
            let message =
                "the `initial` of `data` is computed as a whole, so no component can add to it";
            let finding = finding("E120", initial, message);
            return self
                .found
                .push(finding.hint("write it as a map, with one template for each key"));
        }
        let first = section("initial").unwrap_or_else(|| nothing.clone());
        let first = Node { kind: NodeKind::Map(vec![(key_like(prefix, at), first)]), ..*at };
        self.found.extend(add(data, "initial", "key of `data`", &first, self.item));
        if data.entry("schema").is_none() && section("schema").is_none() {
            return;
        }
        let schema = below(data, "schema", at);
        if schema.entries().is_empty() {
            put(schema, key_like("type", at), retext(at, "object".into()));
        }
        let own = section("schema").map_or(nothing, |it| moved(&it, prefix));
        put(below(schema, "properties", at), key_like(prefix, at), own);
    }
}

/// Returns the map under a key, made when it is absent.
fn below<'n>(map: &'n mut Node, key: &str, at: &Node) -> &'n mut Node {
    // What is no map was refused before; replacing it keeps this total.
    if !super::is_map(map) {
        *map = empty_map(at);
    }
    let NodeKind::Map(entries) = &mut map.kind else { unreachable!("a map was just made") };
    let found = entries.iter().position(|(have, _)| &*have.text == key);
    let found = found.unwrap_or_else(|| {
        entries.push((key_like(key, at), empty_map(at)));
        entries.len() - 1
    });
    &mut entries[found].1
}

/// Adds the entries of a map to a section; a name that is taken is a finding.
fn add(host: &mut Node, section: &str, what: &str, added: &Node, item: &Node) -> Vec<Finding> {
    let held = below(host, section, added);
    let mut found = Vec::new();
    for (key, it) in added.entries() {
        if held.entry(&key.text).is_some() {
            let message =
                format!("the {what} `{}` that the component brings exists already", key.text);
            let hint = "use the component under another name with `as`";
            let at = item.entry("as").map_or(item, |(_, it)| it);
            found.push(finding("E120", at, message).hint(hint));
        } else {
            put(held, key.clone(), it.clone());
        }
    }
    found
}

/// Returns a schema whose references lead to where it stands now.
fn moved(schema: &Node, prefix: &str) -> Node {
    match &schema.kind {
        NodeKind::List(items) => {
            let items = items.iter().map(|it| moved(it, prefix)).collect();
            Node { kind: NodeKind::List(items), ..*schema }
        }
        _ => map_values(schema, |key, it| match (key, it.as_text()) {
            ("$ref", Some(text)) => match text.strip_prefix('#') {
                Some(rest) => retext(it, format!("#/properties/{prefix}{rest}").into()),
                None => it.clone(),
            },
            _ => moved(it, prefix),
        }),
    }
}
