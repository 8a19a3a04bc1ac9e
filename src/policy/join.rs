//! Types of what several schemas say together: of values that fit one of two, and of values that fit both.
//!
//! A type that is too narrow is no danger: a value that the tool's schema takes and the type does not has no exact
//! value for policies, and a call is refused where a policy that applies reads it.

use super::types::{Record, Type};

/// A type, and whether `null` is allowed beside it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    pub(super) ty: Type,
    pub(super) nullable: bool,
}

impl Mapped {
    /// The type of everything.
    pub(super) const TEXT: Self = Self { ty: Type::Text, nullable: false };
}

/// Whether values of this type are texts.
fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::String { .. } | Type::Datetime | Type::Ip | Type::Meant(_))
}

/// A type of all values of either type.
pub(super) fn either(a: Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a,
        (Type::String { allowed: Some(mut a) }, Type::String { allowed: Some(b) }) => {
            a.extend(b);
            Type::String { allowed: Some(a) }
        }
        (a, b) if is_text(&a) && is_text(&b) => Type::String { allowed: None },
        (Type::Long, Type::Decimal) | (Type::Decimal, Type::Long) => Type::Decimal,
        (Type::Record(a), Type::Record(b)) => Type::Record(either_record(a, b)),
        (Type::Set(a), Type::Set(b)) => match either(*a, *b) {
            Type::Text => Type::Text,
            ty => Type::Set(Box::new(ty)),
        },
        _ => Type::Text,
    }
}

fn either_record(a: Record, b: Record) -> Record {
    let (closed, others) = (a.closed && b.closed, a.others || b.others);
    let mut rest = b.fields;
    let mut fields = Vec::new();
    for mut field in a.fields {
        match rest.iter().position(|other| other.name == field.name).map(|at| rest.swap_remove(at)) {
            None => (field.required, field.default) = (false, None),
            Some(other) => {
                field.required &= other.required;
                field.nullable |= other.nullable;
                field.default = field.default.filter(|default| other.default.as_ref() == Some(default));
                field.ty = either(field.ty, other.ty);
                field.nullable &= field.ty != Type::Text;
            }
        }
        fields.push(field);
    }
    rest.sort_by(|a, b| a.name.cmp(&b.name));
    fields.extend(rest.into_iter().map(|field| super::types::Field {
        required: false,
        default: None,
        ..field
    }));
    Record { fields, closed, others }
}

/// A type of all values that are of both types; text is the type of everything.
pub(super) fn both(a: Mapped, b: Mapped) -> Mapped {
    let nullable = a.nullable && b.nullable;
    let ty = match (a.ty, b.ty) {
        (Type::Text, ty) => return Mapped { ty, nullable: b.nullable },
        (ty, Type::Text) => return Mapped { ty, nullable: a.nullable },
        (Type::Record(a), Type::Record(b)) => Type::Record(both_records(a, b)),
        (Type::String { allowed: Some(a) }, Type::String { allowed: Some(b) }) => {
            Type::String { allowed: Some(a.intersection(&b).cloned().collect()) }
        }
        (named @ Type::String { allowed: Some(_) }, ty) | (ty, named @ Type::String { allowed: Some(_) })
            if is_text(&ty) =>
        {
            named
        }
        (Type::String { .. }, ty) | (ty, Type::String { .. }) if is_text(&ty) => ty,
        (Type::Long, Type::Decimal) | (Type::Decimal, Type::Long) => Type::Long,
        (Type::Set(a), Type::Set(b)) => {
            let plain = |ty: Box<Type>| Mapped { ty: *ty, nullable: false };
            match both(plain(a), plain(b)).ty {
                Type::Text => return Mapped::TEXT,
                ty => Type::Set(Box::new(ty)),
            }
        }
        (x, y) if x == y => x,
        _ => return Mapped::TEXT,
    };
    Mapped { ty, nullable }
}

fn both_records(a: Record, b: Record) -> Record {
    let others = a.others || b.others;
    let mut fields = a.fields;
    for other in b.fields {
        match fields.iter_mut().find(|field| field.name == other.name) {
            Some(field) => {
                field.required |= other.required;
                field.default = field.default.take().or(other.default);
                let left = Mapped { ty: field.ty.clone(), nullable: field.nullable };
                let merged = both(left, Mapped { ty: other.ty, nullable: other.nullable });
                (field.ty, field.nullable) = (merged.ty, merged.nullable);
            }
            None => fields.push(other),
        }
    }
    // `additionalProperties: false` in one branch refuses the other's properties; the union is what is visible.
    Record { fields, closed: false, others }
}
