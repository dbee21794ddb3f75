//! Random statecharts, made from bytes so that shrinking the bytes shrinks the chart, and the
//! documents they stand for.

use serde_json::{Map, Value as Json, json};

/// Events that may be sent from outside.
pub(crate) const SENT: [&str; 4] = ["e", "f", "g.h", "g.i"];
/// Events that only the chart raises.
const RAISED: [&str; 2] = ["r", "s.t"];
const DESCRIPTORS: [&str; 8] = ["e", "f", "g.h", "g.*", "*", "r", "s.*", "s.t"];
const STATES_MAX: usize = 24;
const DEPTH_MAX: usize = 4;

/// A chart; state 0 is the root, the others follow in document order.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub states: Vec<State>,
    /// First letter of every name.
    pub letter: char,
    pub version: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub parent: usize,
    pub kind: Kind,
    pub on: Vec<(&'static str, Vec<Transition>)>,
    pub always: Vec<Transition>,
    pub on_done: Vec<Transition>,
    pub entry: Vec<Action>,
    pub exit: Vec<Action>,
    /// Actions of `initial`, or of a history's default.
    pub on_default: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Atomic,
    Compound { initial: usize },
    Parallel,
    Final { fails: bool },
    History { deep: bool, default: usize },
}

#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub targets: Vec<usize>,
    pub guard: Guard,
    pub actions: Vec<Action>,
    pub reenter: Option<bool>,
}

#[derive(Clone, Debug)]
pub(crate) enum Guard {
    True,
    Modulo(i64, i64),
    Below(i64),
    In(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// `n` becomes a number that depends on all numbers before: it tells the order of actions.
    Mix(i64),
    Raise(&'static str),
}

/// What `Mix` makes of `n`.
pub(crate) fn mixed(n: i64, with: i64) -> i64 {
    (n * 31 + with) % 1009
}

/// Makes a chart and the events to send.
pub(crate) fn chart(bytes: &[u8]) -> (Chart, Vec<&'static str>) {
    let mut maker =
        Maker { bytes, chart: Chart { states: Vec::new(), letter: 's', version: "1.0.0" } };
    let events = (0..6 + maker.pick(10)).map(|_| SENT[maker.pick(SENT.len())]).collect();
    maker.add(0, 0, true);
    for state in 1..maker.chart.states.len() {
        maker.furnish(state);
    }
    (maker.chart, events)
}

/// Makes another version of a chart: states and transitions are taken away and added.
pub(crate) fn edited(chart: &Chart, bytes: &[u8]) -> Chart {
    let mut maker = Maker { bytes, chart: chart.clone() };
    maker.chart.version = "2.0.0";
    for _ in 0..1 + maker.pick(4) {
        let states = maker.chart.states.len();
        let at = 1 + maker.pick(states - 1);
        let is_plain = maker.chart.states[at].kind == Kind::Atomic;
        match maker.pick(5) {
            0 => maker.chart.letter = 't',
            1 => maker.add(0, DEPTH_MAX, true),
            2 if is_plain => maker.chart.states[at].kind = Kind::Final { fails: false },
            3 if is_plain => maker.chart.states[at].always = maker.transitions(at, true),
            _ if is_plain => maker.chart.states[at].on.clear(),
            _ => maker.chart.states[at].on_done.clear(),
        }
    }
    for state in &mut maker.chart.states {
        if let Kind::Final { .. } = state.kind {
            (state.on, state.always, state.exit) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
    maker.chart
}

struct Maker<'b> {
    bytes: &'b [u8],
    chart: Chart,
}

impl Maker<'_> {
    fn pick(&mut self, most: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % most.max(1)
    }

    /// Adds a state and those below it.
    fn add(&mut self, parent: usize, depth: usize, first: bool) {
        let at = self.chart.states.len();
        let in_parallel = at != 0 && self.chart.states[parent].kind == Kind::Parallel;
        self.chart.states.push(State {
            parent,
            kind: Kind::Atomic,
            on: Vec::new(),
            always: Vec::new(),
            on_done: Vec::new(),
            entry: Vec::new(),
            exit: Vec::new(),
            on_default: Vec::new(),
        });
        let can_hold = depth < DEPTH_MAX && at < STATES_MAX;
        let kind = match self.pick(8) {
            _ if at == 0 => Kind::Compound { initial: 1 },
            0 if !first && !in_parallel => Kind::Final { fails: self.pick(3) == 1 },
            // The default is chosen once all states are there.
            1 if !first => Kind::History { deep: self.pick(2) == 1, default: 0 },
            2 | 3 if can_hold => Kind::Compound { initial: at + 1 },
            4 | 5 if can_hold => Kind::Parallel,
            _ => Kind::Atomic,
        };
        self.chart.states[at].kind = kind.clone();
        if matches!(kind, Kind::Compound { .. } | Kind::Parallel) {
            let count = 1 + self.pick(3) + usize::from(at == 0);
            for child in 0..count {
                self.add(at, depth + 1, child == 0);
            }
        }
    }

    /// Gives a state what needs the others to be there.
    fn furnish(&mut self, at: usize) {
        let kind = self.chart.states[at].kind.clone();
        match kind {
            Kind::History { deep, .. } => {
                let parent = self.chart.states[at].parent;
                let below = self.chart.real_states_below(parent);
                let default = below[self.pick(below.len())];
                self.chart.states[at].kind = Kind::History { deep, default };
                self.chart.states[at].on_default = self.actions();
                return;
            }
            Kind::Compound { .. } => {
                if self.pick(4) == 1 {
                    let below = self.chart.below(at);
                    let initial = below[self.pick(below.len())];
                    self.chart.states[at].kind = Kind::Compound { initial };
                }
                self.chart.states[at].on_default = self.actions();
            }
            _ => {}
        }
        self.chart.states[at].entry = self.actions();
        if let Kind::Final { .. } = kind {
            return;
        }
        self.chart.states[at].exit = self.actions();
        for _ in 0..self.pick(4) {
            let descriptor = DESCRIPTORS[self.pick(DESCRIPTORS.len())];
            let transitions = self.transitions(at, false);
            let on = &mut self.chart.states[at].on;
            if on.iter().all(|(name, _)| *name != descriptor) {
                on.push((descriptor, transitions));
            }
        }
        if self.pick(5) == 1 {
            self.chart.states[at].always = self.transitions(at, true);
        }
        if matches!(kind, Kind::Compound { .. } | Kind::Parallel) && self.pick(2) == 1 {
            self.chart.states[at].on_done = self.transitions(at, false);
        }
    }

    fn transitions(&mut self, source: usize, guarded: bool) -> Vec<Transition> {
        (0..1 + self.pick(2))
            .map(|_| Transition {
                targets: self.targets(source),
                guard: self.guard(guarded),
                actions: self.actions(),
                reenter: [None, None, Some(true), Some(false)][self.pick(4)],
            })
            .collect()
    }

    fn targets(&mut self, source: usize) -> Vec<usize> {
        let states = self.chart.states.len();
        match self.pick(8) {
            0 => Vec::new(),
            1 => vec![source],
            2 => {
                let below = self.chart.below(source);
                below.get(self.pick(below.len())).copied().into_iter().collect()
            }
            3 => {
                let parallels: Vec<usize> = (1..states)
                    .filter(|it| self.chart.states[*it].kind == Kind::Parallel)
                    .collect();
                let Some(parallel) = parallels.get(self.pick(parallels.len())) else {
                    return vec![1 + self.pick(states - 1)];
                };
                let regions = self.chart.children(*parallel);
                let mut targets = Vec::new();
                for region in regions {
                    let mut inside = self.chart.real_states_below(region);
                    inside.push(region);
                    let is_history = matches!(self.chart.states[region].kind, Kind::History { .. });
                    if !is_history && self.pick(2) == 1 {
                        targets.push(inside[self.pick(inside.len())]);
                    }
                }
                targets
            }
            _ => vec![1 + self.pick(states - 1)],
        }
    }

    fn guard(&mut self, guarded: bool) -> Guard {
        match self.pick(6) {
            0 | 1 if !guarded => Guard::True,
            2 => Guard::Below(self.pick(1009) as i64),
            3 => Guard::In(1 + self.pick(self.chart.states.len() - 1)),
            _ => {
                let by = 2 + self.pick(3);
                Guard::Modulo(by as i64, self.pick(by) as i64)
            }
        }
    }

    fn actions(&mut self) -> Vec<Action> {
        match self.pick(5) {
            0 | 1 => Vec::new(),
            2 => vec![Action::Raise(RAISED[self.pick(2)])],
            _ => vec![Action::Mix(self.pick(256) as i64)],
        }
    }
}

impl Chart {
    pub(crate) fn children(&self, parent: usize) -> Vec<usize> {
        (1..self.states.len()).filter(|it| self.states[*it].parent == parent).collect()
    }

    pub(crate) fn is_descendant(&self, state: usize, of: usize) -> bool {
        let mut at = state;
        while at != 0 {
            at = self.states[at].parent;
            if at == of {
                return true;
            }
        }
        false
    }

    fn below(&self, of: usize) -> Vec<usize> {
        (1..self.states.len()).filter(|it| self.is_descendant(*it, of)).collect()
    }

    fn real_states_below(&self, of: usize) -> Vec<usize> {
        let is_history = |at: usize| matches!(self.states[at].kind, Kind::History { .. });
        self.below(of).into_iter().filter(|it| !is_history(*it)).collect()
    }

    /// Padded, so that order by name is document order.
    fn name(&self, state: usize) -> String {
        format!("{}{state:03}", self.letter)
    }

    /// Returns the path of a state, as the engine writes it.
    pub(crate) fn path(&self, state: usize) -> String {
        match self.states[state].parent {
            0 => self.name(state),
            above => format!("{}.{}", self.path(above), self.name(state)),
        }
    }

    /// Returns the document that says the same.
    pub(crate) fn document(&self) -> String {
        let declared: Map<String, Json> = SENT
            .iter()
            .map(|it| (it.to_string(), json!({})))
            .chain(RAISED.iter().map(|it| (it.to_string(), json!({"source": "internal"}))))
            .collect();
        json!({
            "traaviis": "1",
            "name": "Chart",
            "version": self.version,
            "data": {"initial": {"n": 0}},
            "events": declared,
            "initial": self.name(1),
            "states": self.states_json(0),
        })
        .to_string()
    }

    fn states_json(&self, parent: usize) -> Json {
        let children = self.children(parent).into_iter();
        Json::Object(children.map(|it| (self.name(it), self.state_json(it))).collect())
    }

    fn state_json(&self, at: usize) -> Json {
        let state = &self.states[at];
        let mut json = Map::from_iter([("id".to_string(), json!(format!("id{at}")))]);
        let mut put = |key: &str, value: Json| {
            if value.as_array().is_none_or(|it| !it.is_empty()) {
                json.insert(key.into(), value);
            }
        };
        match &state.kind {
            Kind::Atomic => {}
            Kind::Compound { initial } => {
                let path = self.path(*initial).split_off(self.path(at).len() + 1);
                put("initial", json!({"target": path, "actions": actions(&state.on_default)}));
                put("states", self.states_json(at));
            }
            Kind::Parallel => {
                put("type", json!("parallel"));
                put("states", self.states_json(at));
            }
            Kind::Final { fails } => {
                put("type", json!("final"));
                put("status", json!(if *fails { "failed" } else { "completed" }));
            }
            Kind::History { deep, default } => {
                put("type", json!("history"));
                put("history", json!(if *deep { "deep" } else { "shallow" }));
                put("target", json!(format!("#{}", self.path(*default))));
                put("actions", actions(&state.on_default));
            }
        }
        put("entry", actions(&state.entry));
        put("exit", actions(&state.exit));
        put("always", self.transitions_json(&state.always));
        put("onDone", self.transitions_json(&state.on_done));
        if !state.on.is_empty() {
            let on = state.on.iter();
            put("on", on.map(|(name, it)| (name.to_string(), self.transitions_json(it))).collect());
        }
        Json::Object(json)
    }

    fn transitions_json(&self, transitions: &[Transition]) -> Json {
        let one = |it: &Transition| {
            let mut json = Map::new();
            if !it.targets.is_empty() {
                let paths = it.targets.iter().map(|it| json!(format!("#{}", self.path(*it))));
                json.insert("target".into(), paths.collect());
            }
            let guard = match &it.guard {
                Guard::True => None,
                Guard::Modulo(by, rest) => Some(format!("data.n % {by} == {rest}")),
                Guard::Below(most) => Some(format!("data.n < {most}")),
                Guard::In(state) => Some(format!("in_state('{}')", self.path(*state))),
            };
            json.extend(guard.map(|it| ("guard".to_string(), json!(it))));
            json.extend(it.reenter.map(|it| ("reenter".to_string(), json!(it))));
            json.insert("actions".into(), actions(&it.actions));
            Json::Object(json)
        };
        transitions.iter().map(one).collect()
    }
}

fn actions(actions: &[Action]) -> Json {
    let one = |it: &Action| match it {
        Action::Mix(with) => {
            json!({"assign": {"n": format!("${{(data.n * 31 + {with}) % 1009}}")}})
        }
        Action::Raise(event) => json!({"raise": {"event": event}}),
    };
    actions.iter().map(one).collect()
}
