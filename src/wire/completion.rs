//! What `completion/complete` would tell of: the prompt or the resource template whose argument is completed.

use super::frame::Frame;
use super::{keys, text, walk};

/// `params.ref` of a completion (MCP 2025-11-25, Completion, "Reference Types").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `ref/prompt`, by name.
    Prompt(String),
    /// `ref/resource`, by URI or URI template.
    Resource(String),
}

impl Reference {
    /// Of a request; `None` if it has none that can be read in one way only.
    pub fn of(frame: &Frame) -> Option<Self> {
        let object = walk::member(frame.params()?, "ref")?.raw;
        if object.first() != Some(&b'{') {
            return None;
        }
        let (mut kind, mut name, mut uri) = (None, None, None);
        for (key, value) in walk::members(object) {
            let key = text::decode(key.raw)?;
            let slot = match key.as_ref() {
                "type" => &mut kind,
                "name" => &mut name,
                "uri" => &mut uri,
                other if ["type", "name", "uri"].iter().any(|known| keys::is_twin(other, known)) => {
                    return None;
                }
                _ => continue,
            };
            *slot = Some(text::decode(value.raw)?.into_owned());
        }
        match kind?.as_str() {
            "ref/prompt" => name.map(Self::Prompt),
            "ref/resource" => uri.map(Self::Resource),
            _ => None,
        }
    }

    /// The prompt's name, or the resource's URI or template.
    pub fn target(&self) -> &str {
        match self {
            Self::Prompt(target) | Self::Resource(target) => target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits::Limits;

    #[test]
    fn a_reference_is_read_in_one_way_or_not_at_all() {
        let of = |reference: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference},"argument":{{"name":"a","value":""}}}}}}"#
            );
            Reference::of(&Frame::parse(text.into_bytes(), &Limits::default()).unwrap())
        };
        assert_eq!(
            of(r#"{"type":"ref/prompt","name":"gr\u0065et"}"#),
            Some(Reference::Prompt("greet".to_owned()))
        );
        assert_eq!(
            of(r#"{"type":"ref/resource","uri":"file:///{path}"}"#),
            Some(Reference::Resource("file:///{path}".to_owned()))
        );
        for refused in [
            r#"{"type":"ref/prompt","uri":"greet"}"#,
            r#"{"type":"ref/prompt","name":"a","Name":"b"}"#,
            r#"{"type":"ref/prompt","Type":"ref/resource","name":"a","uri":"b"}"#,
            r#"{"type":"ref/tool","name":"a"}"#,
            r#"{"name":"a"}"#,
            r#"{"type":"ref/prompt","name":1}"#,
            r#""ref/prompt""#,
            "null",
        ] {
            assert_eq!(of(refused), None, "{refused}");
        }
    }
}
