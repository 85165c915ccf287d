//! References inside a document. Others are refused: the server fetches nothing.

use std::borrow::Cow;

use serde_json::Value;

/// Longest chain of references that lead to references.
const CHAIN_MAX: usize = 16;

/// What stands in the place of `node`: itself, or what its `$ref` leads to in the end. The error ends
/// a sentence about the reference.
pub fn resolve<'d>(document: &'d Value, node: &'d Value) -> Result<&'d Value, String> {
    let mut node = node;
    for _ in 0..CHAIN_MAX {
        let Some(reference) = node.get("$ref") else { return Ok(node) };
        let Some(text) = reference.as_str() else { return Err("must be a text".to_owned()) };
        let Some(pointer) = text.strip_prefix('#') else {
            return Err(format!(
                "must lead into the same document (`#/…`), which `{text}` does not: put all parts \
                 into one document"
            ));
        };
        let target = document.pointer(&decoded(pointer));
        node = target.ok_or_else(|| format!("leads to `{text}`, which does not exist"))?;
    }
    Err(format!("leads in a circle, or over more than {CHAIN_MAX} steps"))
}

/// A pointer in a fragment may be percent-encoded.
fn decoded(pointer: &str) -> Cow<'_, str> {
    if !pointer.contains('%') {
        return Cow::Borrowed(pointer);
    }
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_followed_inside_the_document_only() {
        let document = json!({
            "a": { "$ref": "#/x/~1p~0q%20r" }, "x": { "/p~q r": { "found": 1 } },
            "loop": { "$ref": "#/loop" }, "far": { "$ref": "other.yaml#/a" },
            "gone": { "$ref": "#/nothing" }, "odd": { "$ref": 1 },
        });
        let at = |name: &str| resolve(&document, &document[name]);
        assert_eq!(at("a"), Ok(&json!({ "found": 1 })));
        assert!(at("loop").unwrap_err().contains("circle"));
        assert!(at("far").unwrap_err().contains("`other.yaml#/a`"));
        assert!(at("gone").unwrap_err().contains("does not exist"));
        assert!(at("odd").is_err());
        assert_eq!(decoded("/a%zz%2"), "/a%zz%2");
    }
}
