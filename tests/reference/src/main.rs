//! Answers, with Cedar's own schema generator for MCP, what chancery is asked too: whether a condition validates against
//! a tool's schema, and what it decides on calls.
//!
//! On stdin `[{"tool": <list entry>, "when": <Cedar condition>, "calls": [<arguments>, …]}, …]`, on stdout one answer
//! each: `{"schema": true, "valid": true, "decisions": ["allow" | "deny" | "invalid", …]}`; without a schema, `error`.

use std::error::Error;

use cedar_policy_core::ast::{Eid, EntityUID};
use cedar_policy_core::authorizer::{Authorizer, Decision};
use cedar_policy_core::entities::Entities;
use cedar_policy_core::parser::parse_policyset;
use cedar_policy_core::validator::{ValidationMode, Validator, ValidatorSchema};
use cedar_policy_mcp_schema_generator::{SchemaGenerator, SchemaGeneratorConfig};
use mcp_tools_sdk::data::Input;
use mcp_tools_sdk::description::ServerDescription;
use serde_json::{Value, json};

const STUB: &str = r#"namespace Mcp {
  @mcp_principal("Agent") entity Agent;
  @mcp_resource("Tool") entity Tool;
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let cases: Vec<Value> = serde_json::from_reader(std::io::stdin())?;
    let answers: Vec<Value> = cases
        .iter()
        .map(|case| answer(case).unwrap_or_else(|error| json!({"schema": false, "error": error.to_string()})))
        .collect();
    println!("{}", Value::Array(answers));
    Ok(())
}

fn answer(case: &Value) -> Result<Value, Box<dyn Error>> {
    let tools = json!({"result": {"tools": [case["tool"]]}}).to_string();
    let config = SchemaGeneratorConfig::default().objects_as_records(true).encode_numbers_as_decimal(true);
    let mut generator = SchemaGenerator::from_cedarschema_str_with_config(STUB, config)?;
    generator.add_actions_from_server_description(&ServerDescription::from_json_str(&tools)?)?;
    let schema = ValidatorSchema::try_from(generator.get_schema().clone())?;
    let name = case["tool"]["name"].as_str().ok_or("a tool without a name")?;
    let condition = case["when"].as_str().ok_or("a case without a condition")?;
    let policy = format!(
        "permit (principal, action == Mcp::Action::\"{name}\", resource) when {{ {condition} }};"
    );
    let policies = parse_policyset(&policy)?;
    let valid = Validator::new(schema).validate(&policies, ValidationMode::Strict).validation_passed();
    let requests = generator.new_request_generator()?;
    let uid = |ty: &str| -> Result<EntityUID, Box<dyn Error>> {
        Ok(EntityUID::from_components(ty.parse()?, Eid::new("x"), None))
    };
    let mut decisions = Vec::new();
    for call in case["calls"].as_array().into_iter().flatten() {
        let call = json!({"method": "tools/call", "params": {"name": name, "arguments": call}}).to_string();
        let request = Input::from_json_str(&call).map_err(|error| error.to_string()).and_then(|input| {
            let ids = (uid("Mcp::Agent"), uid("Mcp::Tool"));
            let (Ok(principal), Ok(resource)) = ids else { return Err("no such type".to_owned()) };
            requests
                .generate_request(principal, resource, [], Entities::new(), &input, None)
                .map_err(|error| error.to_string())
        });
        decisions.push(match request {
            Err(_) => "invalid",
            Ok((request, entities)) => {
                match Authorizer::new().is_authorized(request, &policies, &entities).decision {
                    Decision::Allow => "allow",
                    Decision::Deny => "deny",
                }
            }
        });
    }
    Ok(json!({"schema": true, "valid": valid, "decisions": decisions}))
}
