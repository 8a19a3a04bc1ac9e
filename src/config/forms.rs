//! Values that may stand in the file in a shorter form: a word or a list of texts in a mapping's place.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor, value};
use serde::{Deserialize, Deserializer};
use serde_yaml::Spanned;

use super::located::{At, range};

/// A value that may be written in several forms.
pub(super) trait Forms<'de>: Sized {
    /// What a single word says.
    type Word: Deserialize<'de>;
    /// What a mapping says; `IgnoredAny` where no mapping may stand.
    type Mapping: Deserialize<'de>;
    /// The forms, for the message about any other.
    const EXPECTED: &'static str;

    /// The value that a word stands for.
    fn word(word: At<Self::Word>) -> Self;

    /// The value that a list of texts stands for, if one may stand there.
    fn list(_: Vec<At<String>>) -> Option<Self> {
        None
    }

    /// The value that a mapping stands for, if one may stand there.
    fn mapping(_: Self::Mapping) -> Option<Self> {
        None
    }
}

/// Reads a value in any of its forms.
///
/// # Errors
/// If it has another form, or is wrong within its form.
pub(super) fn read<'de, F: Forms<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<F, D::Error> {
    let Spanned { value, referenced, .. } = Spanned::<Written<'de, F>>::deserialize(deserializer)?;
    Ok(match value {
        Written::Word(value) => F::word(At { value, span: range(referenced) }),
        Written::Whole(value) => value,
    })
}

/// What was written: a word, of which the place is to be known, or anything else, whole.
enum Written<'de, F: Forms<'de>> {
    Word(F::Word),
    Whole(F),
}

impl<'de, F: Forms<'de>> Deserialize<'de> for Written<'de, F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader::<F>(PhantomData))
    }
}

struct Reader<F>(PhantomData<F>);

impl<'de, F: Forms<'de>> Visitor<'de> for Reader<F> {
    type Value = Written<'de, F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::EXPECTED)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        F::Word::deserialize(word.into_deserializer()).map(Written::Word)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element()? {
            texts.push(text);
        }
        F::list(texts).map(Written::Whole).ok_or_else(|| A::Error::invalid_type(Unexpected::Seq, &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mapping = F::Mapping::deserialize(value::MapAccessDeserializer::new(map))?;
        F::mapping(mapping).map(Written::Whole).ok_or_else(|| A::Error::invalid_type(Unexpected::Map, &self))
    }
}
