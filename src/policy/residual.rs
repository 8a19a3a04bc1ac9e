//! What is left of policies when a request is known in part: could one be allowed?
//!
//! Cedar's partial evaluation puts in what is known and gives back the rest as expressions, without simplifying them:
//! `unknown && false` stays as it is. Here their parts that no `&&`, `||`, `!` or `if` joins (atoms) are taken for
//! free truth values, the same one wherever the same atom stands, and it is tried whether some choice of them satisfies a permit
//! and no forbid. A request that is allowed is such a choice, so what is found impossible is impossible; atoms that
//! exclude one another (`n < 1`, `n > 2`) are not seen to, so that what is found possible may not be.
//!
//! Errors need no value of their own: an atom that fails makes its permit unsatisfied and its forbid deny (I5), and one
//! that is not evaluated may have any value.

use cedar_policy::Policy;
use serde_json::{Value, json};

/// Most atoms that are tried in all combinations; with more, each policy is looked at by itself.
const MAX_ATOMS: usize = 8;

/// What is known of an expression's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truth {
    /// It can be true.
    pub(super) can_hold: bool,
    /// It can be false.
    pub(super) can_fail: bool,
}

impl Truth {
    /// Nothing is known.
    pub(super) const OPEN: Self = Self { can_hold: true, can_fail: true };

    /// It is this.
    pub(super) const fn known(value: bool) -> Self {
        Self { can_hold: value, can_fail: !value }
    }
}

/// The residuals of one request's policies. To read one costs more than to make it, so no more are read than it takes.
#[derive(Debug)]
pub(super) struct Residuals {
    /// Some permit is satisfied whatever the rest is.
    pub(super) permitted: bool,
    /// What is left of permits.
    pub(super) permits: Vec<Policy>,
    /// What is left of forbids.
    pub(super) forbids: Vec<Policy>,
}

impl Residuals {
    /// Whether a request could be allowed. `atom` tells what is known of an atom.
    ///
    /// In doubt it could: a call is decided anyway.
    pub(super) fn could_be_allowed(&self, atom: &dyn Fn(&Value) -> Truth) -> bool {
        // One that can't be read may not hold.
        let forbids: Vec<Value> = self.forbids.iter().filter_map(condition).collect();
        let forbidden =
            |atom: &dyn Fn(&Value) -> Truth| forbids.iter().any(|forbid| !judge(forbid, atom).can_fail);
        if forbidden(atom) {
            return false;
        }
        let mut atoms = Vec::new();
        forbids.iter().for_each(|forbid| collect(forbid, atom, &mut atoms));
        let (mut permitted, mut permits) = (self.permitted, Vec::new());
        // What is permitted anyway is so by no choice of atoms.
        for permit in self.permits.iter().take_while(|_| !self.permitted) {
            let Some(condition) = condition(permit) else { return true };
            if judge(&condition, atom).can_hold {
                collect(&condition, atom, &mut atoms);
                permits.push(condition);
                permitted = true;
            }
            if permitted && (forbids.is_empty() || atoms.len() > MAX_ATOMS) {
                break;
            }
        }
        if !permitted || forbids.is_empty() || atoms.len() > MAX_ATOMS {
            return permitted;
        }
        (0_u32..1 << atoms.len()).any(|choice| {
            let chosen = |wanted: &Value| match atoms.iter().position(|found| found == wanted) {
                Some(at) => Truth::known(choice >> at & 1 == 1),
                None => atom(wanted),
            };
            let holds = || permits.iter().any(|permit| judge(permit, &chosen).can_hold);
            !forbidden(&chosen) && (self.permitted || holds())
        })
    }
}

/// The residual as one expression, in Cedar's JSON format for policies.
fn condition(policy: &Policy) -> Option<Value> {
    let mut policy = policy.to_json().ok()?;
    match policy.get_mut("conditions")?.as_array_mut()?.as_mut_slice() {
        [only] if only.get("kind").is_some_and(|kind| kind == "when") => {
            only.get_mut("body").map(Value::take)
        }
        _ => None,
    }
}

/// The operator of an expression and what it is applied to.
pub(super) fn operation(expr: &Value) -> Option<(&str, &Value)> {
    let (operator, operands) = expr.as_object()?.iter().next()?;
    Some((operator.as_str(), operands))
}

/// An operator's two operands.
pub(super) fn sides(operands: &Value) -> Option<(&Value, &Value)> {
    Some((operands.get("left")?, operands.get("right")?))
}

/// What joins atoms.
enum Joined<'a> {
    Known(bool),
    Not(&'a Value),
    And(&'a Value, &'a Value),
    Or(&'a Value, &'a Value),
    If(&'a Value, &'a Value, &'a Value),
    Atom(&'a Value),
    /// `!=` is the negation of `==`, and no atom of its own.
    NotAtom(Value),
}

impl<'a> Joined<'a> {
    fn of(expr: &'a Value) -> Self {
        let read = || {
            let (operator, operands) = operation(expr)?;
            Some(match operator {
                "Value" => Self::Known(operands.as_bool()?),
                "!" => Self::Not(operands.get("arg")?),
                "&&" => sides(operands).map(|(left, right)| Self::And(left, right))?,
                "||" => sides(operands).map(|(left, right)| Self::Or(left, right))?,
                "if-then-else" => Self::If(operands.get("if")?, operands.get("then")?, operands.get("else")?),
                "!=" => Self::NotAtom(json!({ "==": operands })),
                _ => return None,
            })
        };
        read().unwrap_or(Self::Atom(expr))
    }
}

fn judge(expr: &Value, atom: &dyn Fn(&Value) -> Truth) -> Truth {
    let not = |of: Truth| Truth { can_hold: of.can_fail, can_fail: of.can_hold };
    match Joined::of(expr) {
        Joined::Known(value) => Truth::known(value),
        Joined::Not(of) => not(judge(of, atom)),
        Joined::And(left, right) => {
            let (left, right) = (judge(left, atom), judge(right, atom));
            Truth {
                can_hold: left.can_hold && right.can_hold,
                can_fail: left.can_fail || (left.can_hold && right.can_fail),
            }
        }
        Joined::Or(left, right) => {
            let (left, right) = (judge(left, atom), judge(right, atom));
            Truth {
                can_hold: left.can_hold || (left.can_fail && right.can_hold),
                can_fail: left.can_fail && right.can_fail,
            }
        }
        Joined::If(test, then, other) => {
            let (test, then, other) = (judge(test, atom), judge(then, atom), judge(other, atom));
            Truth {
                can_hold: (test.can_hold && then.can_hold) || (test.can_fail && other.can_hold),
                can_fail: (test.can_hold && then.can_fail) || (test.can_fail && other.can_fail),
            }
        }
        Joined::Atom(of) => atom(of),
        Joined::NotAtom(of) => not(atom(&of)),
    }
}

/// The atoms of `expr` of which nothing is known and that are not in `atoms` yet; no more than are of use.
fn collect(expr: &Value, known: &dyn Fn(&Value) -> Truth, atoms: &mut Vec<Value>) {
    let mut add = |atom: Value| {
        if atoms.len() <= MAX_ATOMS && known(&atom) == Truth::OPEN && !atoms.contains(&atom) {
            atoms.push(atom);
        }
    };
    match Joined::of(expr) {
        Joined::Known(_) => {}
        Joined::Atom(of) => add(of.clone()),
        Joined::NotAtom(of) => add(of),
        Joined::Not(of) => collect(of, known, atoms),
        Joined::And(left, right) | Joined::Or(left, right) => {
            collect(left, known, atoms);
            collect(right, known, atoms);
        }
        Joined::If(test, then, other) => {
            [test, then, other].into_iter().for_each(|part| collect(part, known, atoms))
        }
    }
}
