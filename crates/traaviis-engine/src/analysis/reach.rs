//! W201 and W202: states that nothing enters, and states from which no final state is reached.
//!
//! Both are questions about one graph. For each state it has four places: being entered, being
//! active, being done, and being remembered. Guards are taken as true and timers as firing, so the
//! graph allows at least what an instance can do; what it does not allow is certain.

use traaviis_model::Diagnostic;

use super::{
    chart::{Chart, names},
    warning,
};
use crate::machine::{Kind, StateId};

pub(super) fn check(chart: &Chart<'_>, found: &mut Vec<Diagnostic>) {
    let forward = Graph::of(chart, Regions::EnterTogether);
    let entered = forward.from([forward.entered(0)]);
    let active = |state| entered[forward.entered(state)] || entered[forward.active(state)];
    unreachable(chart, &active, found);
    endless(chart, &active, found);
}

/// How the places of a parallel state hang together.
#[derive(Clone, Copy, PartialEq)]
enum Regions {
    /// Its regions are entered with it: what can be reached.
    EnterTogether,
    /// Any state inside may be active beside any other: what can still happen.
    MayBeAnywhere,
}

/// Places of states and the ways between them.
struct Graph {
    states: usize,
    ways: Vec<Vec<usize>>,
}

impl Graph {
    fn entered(&self, state: StateId) -> usize {
        state
    }

    fn active(&self, state: StateId) -> usize {
        self.states + state
    }

    fn done(&self, state: StateId) -> usize {
        2 * self.states + state
    }

    /// The state or anything below it.
    fn within(&self, state: StateId) -> usize {
        3 * self.states + state
    }

    /// The end of the instance.
    fn end(&self) -> usize {
        4 * self.states
    }

    fn of(chart: &Chart<'_>, regions: Regions) -> Graph {
        let states = chart.machine.states.len();
        let mut graph = Graph { states, ways: vec![Vec::new(); 4 * states + 1] };
        for state in 0..states {
            graph.state(chart, state, regions);
        }
        graph
    }

    fn way(&mut self, from: usize, to: usize) {
        self.ways[from].push(to);
    }

    fn state(&mut self, chart: &Chart<'_>, state: StateId, regions: Regions) {
        let def = chart.def(state);
        let (entered, active, within) =
            (self.entered(state), self.active(state), self.within(state));
        if state != 0 {
            self.way(active, self.active(def.parent));
        }
        match &def.kind {
            Kind::Atomic => self.way(entered, active),
            Kind::Final { .. } => {
                self.way(entered, active);
                let end = if def.parent == 0 { self.end() } else { self.done(def.parent) };
                self.way(entered, end);
            }
            Kind::Compound { initial } => {
                initial.iter().for_each(|it| self.way(entered, self.entered(*it)));
                if chart.is_parallel(def.parent) {
                    self.way(self.done(state), self.done(def.parent));
                }
            }
            Kind::Parallel => {
                self.way(entered, active);
                def.children.iter().for_each(|it| self.way(active, self.entered(*it)));
                if regions == Regions::MayBeAnywhere {
                    self.way(active, within);
                }
            }
            Kind::History { target, .. } => {
                target.iter().for_each(|it| self.way(entered, self.entered(*it)));
                if regions == Regions::MayBeAnywhere {
                    self.way(entered, self.within(def.parent));
                }
            }
        }
        if regions == Regions::MayBeAnywhere {
            let is_history = matches!(def.kind, Kind::History { .. });
            // A history state is never active, so nothing is within it.
            if !is_history {
                self.way(within, entered);
                self.way(within, active);
            }
            def.children.iter().for_each(|it| self.way(within, self.within(*it)));
        }
        for list in chart.lists(state) {
            let is_done = matches!(list.trigger, super::chart::Trigger::Done);
            let from = if is_done { self.done(state) } else { active };
            for target in list.candidates.iter().filter_map(|it| it.targets.as_ref()).flatten() {
                self.way(from, self.entered(*target));
            }
        }
    }

    /// Returns which places can be reached from some.
    fn from(&self, starts: impl IntoIterator<Item = usize>) -> Vec<bool> {
        let mut seen = vec![false; self.ways.len()];
        let mut open: Vec<usize> = starts.into_iter().collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut seen[place], true) {
                open.extend(self.ways[place].iter().filter(|it| !seen[**it]));
            }
        }
        seen
    }

    fn reversed(&self) -> Graph {
        let mut ways = vec![Vec::new(); self.ways.len()];
        for (from, targets) in self.ways.iter().enumerate() {
            targets.iter().for_each(|to| ways[*to].push(from));
        }
        Graph { states: self.states, ways }
    }
}

fn unreachable(chart: &Chart<'_>, active: &dyn Fn(StateId) -> bool, found: &mut Vec<Diagnostic>) {
    for state in chart.states() {
        let def = chart.def(state);
        // What stands below an unreachable state has the same cause.
        if active(state) || !(def.parent == 0 || active(def.parent)) {
            continue;
        }
        let path = &def.path;
        let (message, hint) = match def.kind {
            Kind::History { .. } => (
                format!("no transition goes to the history state `{path}`"),
                "target it where the parent is entered again, or remove it",
            ),
            _ => (
                format!("state `{path}` can never be active: nothing that can happen enters it"),
                "add a transition to it, or remove it",
            ),
        };
        found.push(warning("W201", chart.pointer(state), message, hint));
    }
}

/// Reports states that can be active and cannot reach the end of the instance, one finding for all
/// that lead to each other.
fn endless(chart: &Chart<'_>, active: &dyn Fn(StateId) -> bool, found: &mut Vec<Diagnostic>) {
    let tops = &chart.def(0).children;
    if !tops.iter().any(|it| chart.is_final(*it)) {
        let message = "no top state is final, so an instance never ends".to_string();
        let hint = "add a state with `type: final`; if it is meant to run for ever, say why: \
                    `x-waive: {W202: REASON}`";
        found.push(warning("W202", "/states", message, hint));
        return;
    }
    let graph = Graph::of(chart, Regions::MayBeAnywhere);
    let ends = graph.reversed().from([graph.end()]);
    // A final state has done its part when it is entered: `onDone` follows from that.
    let is_stuck = |state: StateId| active(state) && !ends[graph.entered(state)];
    let groups = Groups::of(chart, &|state| {
        (chart.is_atomic(state) || chart.is_final(state)) && is_stuck(state)
    });
    for group in groups.0 {
        let [first, others @ ..] = group.as_slice() else { continue };
        let path = &chart.def(*first).path;
        let also: Vec<&str> = others.iter().map(|it| &*chart.def(*it).path).collect();
        let also = match also.as_slice() {
            [] => String::new(),
            also => format!(" (nor from {})", names(also)),
        };
        let message = format!("no way leads from state `{path}`{also} to a final state");
        let hint = "add a transition that leads on, or make it final";
        found.push(warning("W202", chart.pointer(*first), message, hint));
    }
}

/// States of one cause: leaves that are all stuck below one state count as that state, and states
/// with transitions between them belong together.
struct Groups(Vec<Vec<StateId>>);

impl Groups {
    fn of(chart: &Chart<'_>, is_stuck_leaf: &dyn Fn(StateId) -> bool) -> Groups {
        let states = chart.machine.states.len();
        let mut leader: Vec<StateId> = (0..states).collect();
        let stuck = whole(chart, is_stuck_leaf);
        // The outermost stuck state stands for what is below it; parents come before children.
        let mut top: Vec<Option<StateId>> = vec![None; states];
        for state in chart.states() {
            let parent = chart.def(state).parent;
            top[state] = match (top[parent], stuck[state]) {
                (Some(above), _) => Some(above),
                (None, true) => Some(state),
                (None, false) => None,
            };
        }
        for state in chart.states() {
            let Some(from) = top[state] else { continue };
            for target in chart.candidates(state).filter_map(|it| it.targets.as_ref()).flatten() {
                if let Some(to) = top[*target] {
                    let (a, b) = (find(&mut leader, from), find(&mut leader, to));
                    leader[a.max(b)] = a.min(b);
                }
            }
        }
        let mut groups: Vec<Vec<StateId>> = vec![Vec::new(); states];
        for state in chart.states().filter(|it| top[*it] == Some(*it)) {
            groups[find(&mut leader, state)].push(state);
        }
        Groups(groups.into_iter().filter(|it| !it.is_empty()).collect())
    }
}

/// Returns which states hold stuck leaves and no other ones.
fn whole(chart: &Chart<'_>, is_stuck_leaf: &dyn Fn(StateId) -> bool) -> Vec<bool> {
    let states = chart.machine.states.len();
    let (mut leaves, mut stuck) = (vec![0_usize; states], vec![0_usize; states]);
    for state in chart.states().rev() {
        if chart.def(state).children.is_empty()
            && !matches!(chart.def(state).kind, Kind::History { .. })
        {
            leaves[state] = 1;
            stuck[state] = usize::from(is_stuck_leaf(state));
        }
        let parent = chart.def(state).parent;
        leaves[parent] += leaves[state];
        stuck[parent] += stuck[state];
    }
    leaves.into_iter().zip(stuck).map(|(all, stuck)| all > 0 && all == stuck).collect()
}

fn find(leader: &mut [StateId], mut state: StateId) -> StateId {
    while leader[state] != state {
        leader[state] = leader[leader[state]];
        state = leader[state];
    }
    state
}
