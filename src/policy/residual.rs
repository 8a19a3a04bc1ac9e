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

/// The residuals of one request's policies.
#[derive(Debug, Default)]
pub(super) struct Residuals {
    /// Some permit is satisfied whatever the rest is.
    pub(super) permitted: bool,
    permits: Vec<Value>,
    forbids: Vec<Value>,
}

impl Residuals {
    /// Adds what is left of a permit.
    pub(super) fn permit(&mut self, policy: &Policy) {
        match condition(policy) {
            Some(condition) => self.permits.push(condition),
            // In doubt the entry is shown; a call of it is decided anyway.
            None => self.permitted = true,
        }
    }

    /// Adds what is left of a forbid; one that can't be read may not hold.
    pub(super) fn forbid(&mut self, policy: &Policy) {
        self.forbids.extend(condition(policy));
    }

    /// Whether a request could be allowed. `atom` tells what is known of an atom.
    pub(super) fn could_be_allowed(&self, atom: &dyn Fn(&Value) -> Truth) -> bool {
        let permitted = |atom: &dyn Fn(&Value) -> Truth| {
            self.permitted || self.permits.iter().any(|permit| judge(permit, atom).can_hold)
        };
        let forbidden =
            |atom: &dyn Fn(&Value) -> Truth| self.forbids.iter().any(|forbid| !judge(forbid, atom).can_fail);
        if !permitted(atom) || forbidden(atom) {
            return false;
        }
        if self.forbids.is_empty() {
            return true;
        }
        let mut atoms = Vec::new();
        for condition in self.permits.iter().chain(&self.forbids) {
            collect(condition, &mut atoms);
        }
        // Each is judged once: one may cost a million steps.
        let judged: Vec<(Value, Truth)> = atoms
            .into_iter()
            .map(|found| {
                let truth = atom(&found);
                (found, truth)
            })
            .collect();
        let (atoms, known): (Vec<_>, Vec<_>) =
            judged.into_iter().partition(|(_, truth)| *truth == Truth::OPEN);
        if atoms.len() > MAX_ATOMS {
            return true;
        }
        (0_u32..1 << atoms.len()).any(|choice| {
            let chosen = |wanted: &Value| match atoms.iter().position(|(found, _)| found == wanted) {
                Some(at) => Truth::known(choice >> at & 1 == 1),
                None => {
                    let judged = known.iter().find(|(found, _)| found == wanted);
                    judged.map_or_else(|| atom(wanted), |(_, truth)| *truth)
                }
            };
            permitted(&chosen) && !forbidden(&chosen)
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

/// The atoms of `expr` that are not in `atoms` yet; no more than are of use.
fn collect(expr: &Value, atoms: &mut Vec<Value>) {
    let mut add = |atom: Value| {
        if atoms.len() <= 4 * MAX_ATOMS && !atoms.contains(&atom) {
            atoms.push(atom);
        }
    };
    match Joined::of(expr) {
        Joined::Known(_) => {}
        Joined::Atom(of) => add(of.clone()),
        Joined::NotAtom(of) => add(of),
        Joined::Not(of) => collect(of, atoms),
        Joined::And(left, right) | Joined::Or(left, right) => {
            collect(left, atoms);
            collect(right, atoms);
        }
        Joined::If(test, then, other) => {
            [test, then, other].into_iter().for_each(|part| collect(part, atoms))
        }
    }
}
