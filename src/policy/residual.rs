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

use std::sync::Arc;

use cedar_policy::Policy;
use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp};

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
    permits: Vec<Arc<Expr>>,
    forbids: Vec<Arc<Expr>>,
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
    pub(super) fn could_be_allowed(&self, atom: &dyn Fn(&Expr) -> Truth) -> bool {
        let permitted = |atom: &dyn Fn(&Expr) -> Truth| {
            self.permitted || self.permits.iter().any(|permit| judge(permit, atom).can_hold)
        };
        let forbidden =
            |atom: &dyn Fn(&Expr) -> Truth| self.forbids.iter().any(|forbid| !judge(forbid, atom).can_fail);
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
        atoms.retain(|found| atom(found) == Truth::OPEN);
        if atoms.len() > MAX_ATOMS {
            return true;
        }
        (0_u32..1 << atoms.len()).any(|choice| {
            let chosen = |wanted: &Expr| match atoms.iter().position(|found| *found == *wanted) {
                Some(at) => Truth::known(choice >> at & 1 == 1),
                None => atom(wanted),
            };
            permitted(&chosen) && !forbidden(&chosen)
        })
    }
}

/// The residual as one expression.
fn condition(policy: &Policy) -> Option<Arc<Expr>> {
    let policy = policy.to_pst().ok()?;
    match policy.body().clauses().as_slice() {
        [Clause::When(condition)] => Some(Arc::clone(condition)),
        _ => None,
    }
}

/// `!=` is the negation of `==`, and no atom of its own.
fn negated_equality(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { op: BinaryOp::NotEq, left, right } => {
            Some(Expr::BinaryOp { op: BinaryOp::Eq, left: Arc::clone(left), right: Arc::clone(right) })
        }
        _ => None,
    }
}

fn judge(expr: &Expr, atom: &dyn Fn(&Expr) -> Truth) -> Truth {
    let not = |of: Truth| Truth { can_hold: of.can_fail, can_fail: of.can_hold };
    match expr {
        Expr::Literal(Literal::Bool(value)) => Truth::known(*value),
        Expr::UnaryOp { op: UnaryOp::Not, expr } => not(judge(expr, atom)),
        Expr::BinaryOp { op: BinaryOp::And, left, right } => {
            let (left, right) = (judge(left, atom), judge(right, atom));
            Truth {
                can_hold: left.can_hold && right.can_hold,
                can_fail: left.can_fail || (left.can_hold && right.can_fail),
            }
        }
        Expr::BinaryOp { op: BinaryOp::Or, left, right } => {
            let (left, right) = (judge(left, atom), judge(right, atom));
            Truth {
                can_hold: left.can_hold || (left.can_fail && right.can_hold),
                can_fail: left.can_fail && right.can_fail,
            }
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            let (test, then, other) = (judge(cond, atom), judge(then_expr, atom), judge(else_expr, atom));
            Truth {
                can_hold: (test.can_hold && then.can_hold) || (test.can_fail && other.can_hold),
                can_fail: (test.can_hold && then.can_fail) || (test.can_fail && other.can_fail),
            }
        }
        other => match negated_equality(other) {
            Some(equality) => not(atom(&equality)),
            None => atom(other),
        },
    }
}

/// The atoms of `expr` that are not in `atoms` yet; no more than are of use.
fn collect(expr: &Expr, atoms: &mut Vec<Expr>) {
    match expr {
        Expr::Literal(Literal::Bool(_)) => {}
        Expr::UnaryOp { op: UnaryOp::Not, expr } => collect(expr, atoms),
        Expr::BinaryOp { op: BinaryOp::And | BinaryOp::Or, left, right } => {
            collect(left, atoms);
            collect(right, atoms);
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            [cond, then_expr, else_expr].into_iter().for_each(|part| collect(part, atoms));
        }
        other => {
            let other = negated_equality(other).unwrap_or_else(|| other.clone());
            if atoms.len() <= 4 * MAX_ATOMS && !atoms.contains(&other) {
                atoms.push(other);
            }
        }
    }
}
