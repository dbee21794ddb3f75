//! What a guard is true for, as far as its text alone tells.
//!
//! [`truth`] says what a guard is whatever the data are. A guard that compares one expression, its
//! subject, with literals becomes a [`Predicate`]; over the finitely many [`Sample`]s that the
//! literals of a list tell apart, its truth is computed rather than reasoned about.

use std::collections::BTreeSet;

use traaviis_model::{Text, Value};

use crate::expr::{Var, compile::Code, parser::Operator};

/// What a guard is for all data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Always,
    /// False, or an error, which counts as false.
    Never,
    Depends,
}

/// Returns what a guard always is; `is_state` knows the paths that `in_state` can ask for.
pub(super) fn truth(code: &Code, is_state: &dyn Fn(&str) -> bool) -> Truth {
    use Truth::{Always, Depends, Never};
    let of = |it: &Code| truth(it, is_state);
    match code {
        Code::Const(Value::Bool(true)) => Always,
        Code::Const(_) => Never,
        Code::InState(path) => match &**path {
            Code::Const(Value::String(path)) if !is_state(path) => Never,
            _ => Depends,
        },
        Code::Not(part) if is_false(part, is_state) => Always,
        Code::Not(part) if of(part) == Always => Never,
        Code::And(parts) if parts.iter().any(|it| of(it) == Never) => Never,
        Code::And(parts) if parts.iter().all(|it| of(it) == Always) => Always,
        Code::Or(parts) if parts.iter().any(|it| of(it) == Always) => Always,
        Code::Or(parts) if parts.iter().all(|it| of(it) == Never) => Never,
        Code::If(parts) => match (of(&parts[0]), of(&parts[1]), of(&parts[2])) {
            (Always, then, _) => then,
            (_, Never, Never) => Never,
            _ => Depends,
        },
        _ => Depends,
    }
}

/// Says whether code is false and no error, so that its negation is true.
fn is_false(code: &Code, is_state: &dyn Fn(&str) -> bool) -> bool {
    match code {
        Code::Const(value) => *value == Value::Bool(false),
        Code::InState(_) => truth(code, is_state) == Truth::Never,
        _ => false,
    }
}

/// Says whether two evaluations of the same text may differ within one step.
pub(super) fn draws(source: &str) -> bool {
    source.contains("uuid") || source.contains("random")
}

/// A value that stands for all values that the guards of a list cannot tell from it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sample {
    Null,
    Bool(bool),
    Text(Text),
    /// A number that some guard names.
    Number(f64),
    /// A number between two named ones, or beyond all of them.
    Between(Option<f64>, Option<f64>),
    /// Anything no guard names.
    Other,
}

impl Sample {
    pub fn of(value: &Value) -> Option<Sample> {
        match value {
            Value::Null => Some(Sample::Null),
            Value::Bool(it) => Some(Sample::Bool(*it)),
            Value::String(text) => Some(Sample::Text(text.clone())),
            number => exact(number).map(Sample::Number),
        }
    }

    /// Returns the number this stands for.
    fn number(&self) -> Option<f64> {
        match self {
            Sample::Number(it) => Some(*it),
            Sample::Between(Some(low), Some(high)) => Some(low + (high - low) / 2.0),
            Sample::Between(Some(low), None) => Some(low + 1.0),
            Sample::Between(None, Some(high)) => Some(high - 1.0),
            _ => None,
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Sample::Number(_) | Sample::Between(..))
    }

    pub fn words(&self) -> String {
        match self {
            Sample::Null => "`null`".into(),
            Sample::Bool(it) => format!("`{it}`"),
            Sample::Text(text) => format!("`{text}`"),
            Sample::Number(it) => format!("`{it}`"),
            Sample::Between(Some(low), Some(high)) => format!("numbers between {low} and {high}"),
            Sample::Between(Some(low), None) => format!("numbers above {low}"),
            Sample::Between(None, Some(high)) => format!("numbers below {high}"),
            Sample::Between(None, None) => "numbers".into(),
            Sample::Other => "any other value".into(),
        }
    }
}

/// Returns a number that a double holds exactly.
fn exact(value: &Value) -> Option<f64> {
    const WHOLE_MAX: f64 = 9e15;
    let number = match value {
        Value::Int(_) | Value::Uint(_) | Value::Float(_) => value.as_f64()?,
        _ => return None,
    };
    (number.abs() < WHOLE_MAX).then_some(number)
}

/// The expression that a guard compares with literals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject<'c> {
    /// Fields of a variable, by its name.
    Path(&'static str, &'c [Text]),
    /// Anything else, by the text of its resolved form.
    Other(String),
}

impl<'c> Subject<'c> {
    fn of(code: &'c Code) -> Subject<'c> {
        match code {
            Code::Path(var, fields) => Subject::Path(var.name(), fields),
            other => Subject::Other(format!("{other:?}")),
        }
    }

    /// Returns the fields when this is a path into `var`.
    pub fn fields(&self, var: Var) -> Option<&'c [Text]> {
        match self {
            Subject::Path(name, fields) if *name == var.name() => Some(fields),
            _ => None,
        }
    }
}

/// A guard over one subject.
#[derive(Debug)]
pub(super) struct Predicate<'c> {
    pub subject: Subject<'c>,
    /// The subject stands alone as a truth value somewhere.
    pub is_truth: bool,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Is(Vec<Sample>),
    Order(Operator, f64),
    Truth,
    Not(Box<Test>),
    And(Vec<Test>),
    Or(Vec<Test>),
}

impl<'c> Predicate<'c> {
    /// Reads a guard; none when it compares several expressions, or in other ways.
    pub fn of(code: &'c Code) -> Option<Predicate<'c>> {
        let mut subject = None;
        let test = read(code, &mut subject)?;
        let is_truth = test.has_truth();
        Some(Predicate { subject: subject?, is_truth, test })
    }

    /// Collects the values that this predicate names.
    pub fn literals(&self, into: &mut Vec<Sample>) {
        self.test.literals(into);
    }

    /// Says whether the guard is true for a value.
    pub fn takes(&self, sample: &Sample) -> bool {
        self.test.eval(sample) == Some(true)
    }
}

fn read<'c>(code: &'c Code, subject: &mut Option<Subject<'c>>) -> Option<Test> {
    match code {
        Code::Not(part) => Some(Test::Not(Box::new(read(part, subject)?))),
        Code::And(parts) => {
            Some(Test::And(parts.iter().map(|it| read(it, subject)).collect::<Option<_>>()?))
        }
        Code::Or(parts) => {
            Some(Test::Or(parts.iter().map(|it| read(it, subject)).collect::<Option<_>>()?))
        }
        Code::Binary(operator, sides) => {
            let (operator, of, literal) = match (&sides.0, &sides.1) {
                (of, Code::Const(literal)) => (*operator, of, literal),
                (Code::Const(literal), of) => (mirrored(*operator)?, of, literal),
                _ => return None,
            };
            same(of, subject)?;
            compare(operator, literal)
        }
        Code::Var(_) | Code::Path(..) => {
            same(code, subject)?;
            Some(Test::Truth)
        }
        _ => None,
    }
}

/// Takes `code` as the subject, or checks that it is the one taken before.
fn same<'c>(code: &'c Code, subject: &mut Option<Subject<'c>>) -> Option<()> {
    let own = Subject::of(code);
    match subject {
        None => {
            *subject = Some(own);
            Some(())
        }
        Some(known) => (*known == own).then_some(()),
    }
}

fn mirrored(operator: Operator) -> Option<Operator> {
    Some(match operator {
        Operator::Less => Operator::Greater,
        Operator::LessEqual => Operator::GreaterEqual,
        Operator::Greater => Operator::Less,
        Operator::GreaterEqual => Operator::LessEqual,
        Operator::Equal | Operator::Unequal => operator,
        _ => return None,
    })
}

fn compare(operator: Operator, literal: &Value) -> Option<Test> {
    use Operator::{Equal, Greater, GreaterEqual, In, Less, LessEqual, Unequal};
    match operator {
        Equal => Some(Test::Is(vec![Sample::of(literal)?])),
        Unequal => Some(Test::Not(Box::new(Test::Is(vec![Sample::of(literal)?])))),
        In => match literal {
            Value::List(items) => {
                Some(Test::Is(items.iter().map(Sample::of).collect::<Option<_>>()?))
            }
            _ => None,
        },
        Less | LessEqual | Greater | GreaterEqual => Some(Test::Order(operator, exact(literal)?)),
        _ => None,
    }
}

impl Test {
    /// Returns the truth for a value; none is an error, such as ordering a text and a number.
    fn eval(&self, sample: &Sample) -> Option<bool> {
        match self {
            Test::Is(samples) => Some(samples.contains(sample)),
            Test::Order(operator, bound) => {
                let number = sample.number()?;
                Some(match operator {
                    Operator::Less => number < *bound,
                    Operator::LessEqual => number <= *bound,
                    Operator::Greater => number > *bound,
                    _ => number >= *bound,
                })
            }
            Test::Truth => match sample {
                Sample::Bool(it) => Some(*it),
                _ => None,
            },
            Test::Not(test) => test.eval(sample).map(|it| !it),
            Test::And(tests) => logic(tests, sample, false),
            Test::Or(tests) => logic(tests, sample, true),
        }
    }

    fn literals(&self, into: &mut Vec<Sample>) {
        match self {
            Test::Is(samples) => into.extend(samples.iter().cloned()),
            Test::Order(_, bound) => into.push(Sample::Number(*bound)),
            Test::Truth => into.extend([Sample::Bool(true), Sample::Bool(false)]),
            Test::Not(test) => test.literals(into),
            Test::And(tests) | Test::Or(tests) => tests.iter().for_each(|it| it.literals(into)),
        }
    }

    fn has_truth(&self) -> bool {
        match self {
            Test::Truth => true,
            Test::Not(test) => test.has_truth(),
            Test::And(tests) | Test::Or(tests) => tests.iter().any(Test::has_truth),
            _ => false,
        }
    }
}

/// As CEL: one part decides, whatever errors the others give.
fn logic(tests: &[Test], sample: &Sample, decided: bool) -> Option<bool> {
    let mut outcome = Some(!decided);
    for test in tests {
        match test.eval(sample) {
            Some(it) if it == decided => return Some(decided),
            None => outcome = None,
            Some(_) => {}
        }
    }
    outcome
}

/// Returns one sample for each set of values that the literals tell apart; numbers are in order.
pub(super) fn samples(literals: Vec<Sample>) -> Vec<Sample> {
    let (mut texts, mut numbers) = (BTreeSet::new(), Vec::new());
    let (mut bools, mut nulls) = (BTreeSet::new(), false);
    for literal in literals {
        match literal {
            Sample::Text(text) => drop(texts.insert(text)),
            Sample::Number(number) => numbers.push(number),
            Sample::Bool(it) => drop(bools.insert(it)),
            Sample::Null => nulls = true,
            Sample::Between(..) | Sample::Other => {}
        }
    }
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let mut samples = Vec::new();
    if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
        samples.push(Sample::Between(None, Some(*first)));
        for (at, number) in numbers.iter().enumerate() {
            samples.push(Sample::Number(*number));
            if let Some(next) = numbers.get(at + 1)
                && has_room(*number, *next)
            {
                samples.push(Sample::Between(Some(*number), Some(*next)));
            }
        }
        samples.push(Sample::Between(Some(*last), None));
    }
    samples.extend(texts.into_iter().map(Sample::Text));
    samples.extend(bools.into_iter().map(Sample::Bool));
    samples.extend(nulls.then_some(Sample::Null));
    samples.push(Sample::Other);
    samples
}

/// Says whether a value between two numbers is to be expected: between whole numbers, a whole one.
fn has_room(low: f64, high: f64) -> bool {
    let middle = low + (high - low) / 2.0;
    let are_whole = low.fract() == 0.0 && high.fract() == 0.0;
    middle > low && middle < high && (!are_whole || low + 1.0 < high)
}

/// A set of samples by their positions.
#[derive(Clone, Debug)]
pub(super) struct Set(Vec<u64>);

impl Set {
    /// Returns the positions below `count` that fit.
    pub fn of(count: usize, fits: impl Fn(usize) -> bool) -> Set {
        let mut words = vec![0; count.div_ceil(64)];
        for at in (0..count).filter(|at| fits(*at)) {
            words[at / 64] |= 1 << (at % 64);
        }
        Set(words)
    }

    pub fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|it| it >> (at % 64) & 1 == 1)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|it| *it == 0)
    }

    pub fn and(&self, other: &Set) -> Set {
        Set(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    pub fn without(&self, other: &Set) -> Set {
        Set(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }

    /// Says whether both share some positions, and this one has others besides.
    pub fn is_cut_by(&self, other: &Set) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        pairs().any(|(a, b)| a & b != 0) && pairs().any(|(a, b)| a & !b != 0)
    }
}
