//! ECDSA signatures in their two encodings, read strictly: one signature has one spelling in each.

use super::algorithm::Algorithm;

/// Why bytes are not a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not `r ‖ s` of the curve's size (RFC 7518 §3.4).
    #[error("the signature has {actual} bytes where {algorithm} has {expected}")]
    Length {
        /// Bytes found.
        actual: usize,
        /// Bytes that the algorithm's signatures have.
        expected: usize,
        /// The key's algorithm.
        algorithm: Algorithm,
    },
    /// Not the one DER encoding of `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3).
    #[error("the signature is not canonical DER: {0}")]
    Der(&'static str),
    /// `r` or `s` is zero, which no signature has.
    #[error("the signature's r or s is zero")]
    Zero,
}

/// An ECDSA signature, well-formed but not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    algorithm: Algorithm,
    der: Vec<u8>,
}

impl Signature {
    /// Reads canonical DER: definite minimal lengths, minimal positive integers, nothing after them.
    ///
    /// # Errors
    /// Any other spelling, an integer wider than the curve's field, or a zero.
    pub fn from_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, SignatureError> {
        let (r, s) = read_der(algorithm, der)?;
        not_zero(r)?;
        not_zero(s)?;
        Ok(Self { algorithm, der: der.to_vec() })
    }

    /// Reads `r ‖ s`, 64 bytes for ES256 and 96 for ES384.
    ///
    /// # Errors
    /// Another length, or a zero.
    pub fn from_fixed(algorithm: Algorithm, fixed: &[u8]) -> Result<Self, SignatureError> {
        let expected = algorithm.field_bytes() * 2;
        if fixed.len() != expected {
            return Err(SignatureError::Length { actual: fixed.len(), expected, algorithm });
        }
        let (r, s) = fixed.split_at(algorithm.field_bytes());
        not_zero(r)?;
        not_zero(s)?;
        let mut body = Vec::with_capacity(expected + 6);
        write_integer(&mut body, r);
        write_integer(&mut body, s);
        let mut der = Vec::with_capacity(body.len() + 2);
        // At most 2 × (2 + 49) = 102 bytes, so the short form of the length always fits.
        der.extend([0x30, u8::try_from(body.len()).unwrap_or(0)]);
        der.extend(body);
        Ok(Self { algorithm, der })
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// ASN.1 DER, as DSSE envelopes carry it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// `r ‖ s`, as JWS carries it (RFC 7518 §3.4).
    pub fn to_fixed(&self) -> Vec<u8> {
        let width = self.algorithm.field_bytes();
        let mut out = Vec::with_capacity(width * 2);
        if let Ok((r, s)) = read_der(self.algorithm, &self.der) {
            for integer in [r, s] {
                out.resize(out.len() + (width - integer.len()), 0);
                out.extend_from_slice(integer);
            }
        }
        out
    }
}

/// `r` and `s` as minimal big-endian bytes without a sign byte, each at most the field's width.
fn read_der(algorithm: Algorithm, der: &[u8]) -> Result<(&[u8], &[u8]), SignatureError> {
    let (body, rest) = read_value(der, 0x30)?;
    if !rest.is_empty() {
        return Err(SignatureError::Der("bytes follow the sequence"));
    }
    let (r, rest) = read_integer(algorithm, body)?;
    let (s, rest) = read_integer(algorithm, rest)?;
    if !rest.is_empty() {
        return Err(SignatureError::Der("bytes follow the integers"));
    }
    Ok((r, s))
}

fn read_value(input: &[u8], tag: u8) -> Result<(&[u8], &[u8]), SignatureError> {
    let [found, length, rest @ ..] = input else { return Err(SignatureError::Der("it is cut short")) };
    if *found != tag {
        return Err(SignatureError::Der("a tag is wrong"));
    }
    // Nothing here is longer than 102 bytes: only the short form is minimal.
    if *length > 0x7f {
        return Err(SignatureError::Der("a length is not in its short form"));
    }
    rest.split_at_checked(usize::from(*length)).ok_or(SignatureError::Der("it is cut short"))
}

fn read_integer(algorithm: Algorithm, input: &[u8]) -> Result<(&[u8], &[u8]), SignatureError> {
    let (value, rest) = read_value(input, 0x02)?;
    let magnitude = match value {
        [] => return Err(SignatureError::Der("an integer is empty")),
        [0, next, ..] if *next < 0x80 => return Err(SignatureError::Der("an integer is padded")),
        [0, magnitude @ ..] if !magnitude.is_empty() => magnitude,
        [first, ..] if *first >= 0x80 => return Err(SignatureError::Der("an integer is negative")),
        plain => plain,
    };
    if magnitude.len() > algorithm.field_bytes() {
        return Err(SignatureError::Der("an integer is wider than the curve"));
    }
    Ok((magnitude, rest))
}

fn not_zero(integer: &[u8]) -> Result<(), SignatureError> {
    if integer.iter().all(|byte| *byte == 0) { Err(SignatureError::Zero) } else { Ok(()) }
}

fn write_integer(out: &mut Vec<u8>, fixed: &[u8]) {
    let start = fixed.iter().position(|byte| *byte != 0).unwrap_or(fixed.len());
    let magnitude = fixed.get(start..).unwrap_or_default();
    let sign = magnitude.first().is_some_and(|byte| *byte >= 0x80);
    // At most 49 bytes.
    out.extend([0x02, u8::try_from(magnitude.len() + usize::from(sign)).unwrap_or(0)]);
    if sign {
        out.push(0);
    }
    out.extend_from_slice(magnitude);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_one_canonical_der_spelling_is_read() {
        let good = [0x30, 6, 2, 1, 1, 2, 1, 2];
        assert_eq!(Signature::from_der(Algorithm::Es256, &good).unwrap().to_fixed()[31], 1);
        let table: [(&str, &[u8]); 12] = [
            ("empty", &[]),
            ("a wrong outer tag", &[0x31, 6, 2, 1, 1, 2, 1, 2]),
            ("a wrong inner tag", &[0x30, 6, 3, 1, 1, 2, 1, 2]),
            ("a long-form length", &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 2]),
            ("an indefinite length", &[0x30, 0x80, 2, 1, 1, 2, 1, 2, 0, 0]),
            ("bytes after the sequence", &[0x30, 6, 2, 1, 1, 2, 1, 2, 0]),
            ("bytes after the integers", &[0x30, 8, 2, 1, 1, 2, 1, 2, 5, 0]),
            ("a padded integer", &[0x30, 7, 2, 2, 0, 1, 2, 1, 2]),
            ("a negative integer", &[0x30, 6, 2, 1, 0x81, 2, 1, 2]),
            ("an empty integer", &[0x30, 5, 2, 0, 2, 1, 2]),
            ("a zero", &[0x30, 6, 2, 1, 0, 2, 1, 2]),
            ("a truncated one", &[0x30, 6, 2, 1, 1, 2, 1]),
        ];
        for (name, bytes) in table {
            assert!(Signature::from_der(Algorithm::Es256, bytes).is_err(), "{name}");
        }
        let mut wide = vec![0x30, 38, 2, 33];
        wide.extend([1; 33]);
        wide.extend([2, 1, 1]);
        assert!(Signature::from_der(Algorithm::Es256, &wide).is_err(), "33 bytes of r");
        assert!(Signature::from_der(Algorithm::Es384, &wide).is_ok());
    }

    #[test]
    fn a_fixed_signature_has_exactly_the_curves_length_and_no_zero_half() {
        for length in [0, 63, 65, 96, 128] {
            assert!(Signature::from_fixed(Algorithm::Es256, &vec![1; length]).is_err(), "{length}");
        }
        assert!(Signature::from_fixed(Algorithm::Es384, &[1; 64]).is_err());
        let mut half = [1; 64];
        half[32..].fill(0);
        assert_eq!(Signature::from_fixed(Algorithm::Es256, &half), Err(SignatureError::Zero));
    }

    proptest! {
        #[test]
        fn both_encodings_hold_the_same_signature(bytes in proptest::collection::vec(any::<u8>(), 96), zeros in 0_usize..32) {
            for (algorithm, length) in [(Algorithm::Es256, 64), (Algorithm::Es384, 96)] {
                let mut fixed = bytes[..length].to_vec();
                fixed[..zeros].fill(0);
                fixed[length / 2 - 1] |= 1;
                fixed[length - 1] |= 1;
                let signature = Signature::from_fixed(algorithm, &fixed).unwrap();
                prop_assert_eq!(&signature.to_fixed(), &fixed);
                prop_assert_eq!(Signature::from_der(algorithm, signature.der()).unwrap(), signature);
            }
        }
    }
}
