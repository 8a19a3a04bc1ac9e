//! The messages that the gateway itself writes.

use bytes::Bytes;
use serde::Serialize;

use super::error::INTERNAL_ERROR;
use super::id::RequestId;

#[derive(Serialize)]
struct Message<'a, P: Serialize + ?Sized, R: Serialize + ?Sized, D: Serialize + ?Sized> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Option<&'a RequestId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a R>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a, D>>,
}

#[derive(Serialize)]
struct ErrorBody<'a, D: Serialize + ?Sized> {
    code: i64,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a D>,
}

const EMPTY: Message<'static, (), (), ()> =
    Message { jsonrpc: "2.0", id: None, method: None, params: None, result: None, error: None };

/// A JSON-RPC error; `id` is null where it is not known. Data that can't be written as JSON is left out.
pub fn error<D: Serialize + ?Sized>(
    id: Option<&RequestId>,
    code: i64,
    message: &str,
    data: Option<&D>,
) -> Bytes {
    let Message { jsonrpc, method, params, result, .. } = EMPTY;
    let whole = Message {
        jsonrpc,
        id: Some(id),
        method,
        params,
        result,
        error: Some(ErrorBody { code, message, data }),
    };
    serde_json::to_vec(&whole).map_or_else(|_| bare_error(id, code, message), Bytes::from)
}

/// A JSON-RPC result; an internal error where `result` can't be written as JSON.
pub fn result<R: Serialize + ?Sized>(id: &RequestId, result: &R) -> Bytes {
    let Message { jsonrpc, method, params, error, .. } = EMPTY;
    let whole = Message { jsonrpc, id: Some(Some(id)), method, params, result: Some(result), error };
    let unwritable = |_| bare_error(Some(id), INTERNAL_ERROR, "the result can't be written as JSON");
    serde_json::to_vec(&whole).map_or_else(unwritable, Bytes::from)
}

/// A request of the gateway's own. `params` that can't be written as JSON are left out.
pub fn request<P: Serialize + ?Sized>(id: &RequestId, method: &str, params: Option<&P>) -> Bytes {
    call(Some(Some(id)), method, params)
}

/// A notification of the gateway's own. `params` that can't be written as JSON are left out.
pub fn notification<P: Serialize + ?Sized>(method: &str, params: Option<&P>) -> Bytes {
    call(None, method, params)
}

fn call<P: Serialize + ?Sized>(id: Option<Option<&RequestId>>, method: &str, params: Option<&P>) -> Bytes {
    let Message { jsonrpc, result, error, .. } = EMPTY;
    let whole = Message { jsonrpc, id, method: Some(method), params, result, error };
    let bare = Message { method: Some(method), id, ..EMPTY };
    serde_json::to_vec(&whole).or_else(|_| serde_json::to_vec(&bare)).map(Bytes::from).unwrap_or_default()
}

fn bare_error(id: Option<&RequestId>, code: i64, message: &str) -> Bytes {
    let bare = Message { id: Some(id), error: Some(ErrorBody { code, message, data: None::<&()> }), ..EMPTY };
    serde_json::to_vec(&bare).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_message_is_written_as_json_rpc_says() {
        let id = RequestId::from("a\"b");
        let none = None::<&()>;
        let cases = [
            (
                error(None, -32700, "no", none),
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#,
            ),
            (
                error(Some(&id), 403, "no", Some(&serde_json::json!({"a": 1}))),
                r#"{"jsonrpc":"2.0","id":"a\"b","error":{"code":403,"message":"no","data":{"a":1}}}"#,
            ),
            (result(&1.into(), &serde_json::json!({})), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            (request(&1.into(), "ping", none), r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            (notification("n", Some(&[1])), r#"{"jsonrpc":"2.0","method":"n","params":[1]}"#),
        ];
        for (message, expected) in cases {
            assert_eq!(std::str::from_utf8(&message).unwrap(), expected);
        }
    }

    #[test]
    fn what_cannot_be_written_as_json_becomes_an_error_not_a_panic() {
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        let text = |b: Bytes| String::from_utf8(b.to_vec()).unwrap();
        assert!(text(result(&1.into(), &unwritable)).contains("-32603"));
        assert!(text(error(None, 5, "m", Some(&unwritable))).contains(r#""code":5"#));
    }
}
