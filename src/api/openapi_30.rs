//! The document as OpenAPI 3.0.3, for generators that don't read 3.1: the same operations and
//! types, said in the older dialect of JSON Schema.

use serde_json::{Map, Value, json};

/// Converts a 3.1 document.
pub fn converted(document: &Value) -> Value {
    let mut document = document.clone();
    document["openapi"] = json!("3.0.3");
    if let Some(license) = document["info"]["license"].as_object_mut() {
        license.remove("identifier");
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.values_mut().for_each(schema);
    }
    let headers = document["components"]["headers"].as_object_mut();
    for header in headers.into_iter().flat_map(Map::values_mut) {
        header.get_mut("schema").into_iter().for_each(schema);
    }
    let mut answers = Vec::new();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            schemas_of_operation(operation);
            one_kind_of_success(operation);
            answers.extend(operation["operationId"].as_str().map(camel_case));
        }
    }
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for answer in answers {
            name_for_go(schemas, &answer);
        }
    }
    document
}

/// `create_snapshot` as `CreateSnapshot`.
fn camel_case(id: &str) -> String {
    let capitalized = |word: &str| word[..1].to_uppercase() + &word[1..];
    id.split('_').filter(|word| !word.is_empty()).map(capitalized).collect()
}

/// oapi-codegen calls everything that an operation may answer `{operation}Response`, as a schema of this document may be
/// called too: such a one gets another name there.
fn name_for_go(schemas: &mut Map<String, Value>, operation: &str) {
    if let Some(Value::Object(schema)) = schemas.get_mut(&format!("{operation}Response")) {
        schema.insert("x-go-name".into(), json!(format!("{operation}Result")));
    }
}

/// progenitor makes nothing of an operation that succeeds with and without content. A stream that ends at once is the same to a
/// client as none, so that is what 204 is called where 200 is a stream.
fn one_kind_of_success(operation: &mut Value) {
    let stream = operation.pointer("/responses/200/content").cloned();
    if let Some(stream) = stream.filter(|content| content.get("text/event-stream").is_some())
        && let Some(Value::Object(nothing)) = operation.pointer_mut("/responses/204")
    {
        nothing.insert("content".into(), stream);
    }
}

fn schemas_of_operation(operation: &mut Value) {
    // an index of `Value` would add what is missing
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        schema(&mut parameter["schema"]);
        // a header is there or not
        if parameter["in"] == "header"
            && let Some(text) = parameter["schema"].as_object_mut()
        {
            text.remove("nullable");
        }
    }
    let content = |of: &mut Value| {
        for media in of["content"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(inner) = media.get_mut("schema") {
                schema(inner);
            }
        }
    };
    if let Some(body) = operation.get_mut("requestBody") {
        content(body);
    }
    let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(Map::values_mut) {
        if response.get("content").is_some() {
            content(response);
        }
        for header in response
            .get_mut("headers")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
        {
            header.get_mut("schema").into_iter().for_each(schema);
        }
    }
}

/// Converts a schema and what is inside.
fn schema(value: &mut Value) {
    let Some(object) = value.as_object_mut() else { return };
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            schema(inner);
        }
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        object
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .for_each(schema);
    }
    let properties = object.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(schema);

    object.remove("propertyNames");
    if let Some(Value::Array(examples)) = object.remove("examples")
        && let Some(first) = examples.into_iter().next()
    {
        object.entry("example").or_insert(first);
    }
    for (limit, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(number) = object.remove(limit).filter(Value::is_number) {
            object.insert(bound.into(), number);
            object.insert(limit.into(), json!(true));
        }
    }
    nullable_type(object);
    nullable_choice(object);
    // siblings of a reference mean nothing there
    if object.len() > 1
        && let Some(reference) = object.remove("$ref")
    {
        object.insert("allOf".into(), json!([{"$ref": reference}]));
    }
}

/// `type: [x, null]`
fn nullable_type(object: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = object.get("type") else {
        return;
    };
    let (nulls, others): (Vec<Value>, Vec<Value>) = types.iter().cloned().partition(|t| t == "null");
    match <[Value; 1]>::try_from(others) {
        Ok([only]) => object.insert("type".into(), only),
        Err(_) => object.remove("type"),
    };
    if !nulls.is_empty() {
        object.insert("nullable".into(), json!(true));
    }
}

/// `oneOf: [x, {type: null}]`
fn nullable_choice(object: &mut Map<String, Value>) {
    for key in ["oneOf", "anyOf"] {
        let Some(choices) = object.get(key).and_then(Value::as_array) else {
            continue;
        };
        let others: Vec<Value> = choices.iter().filter(|c| **c != json!({"type": "null"})).cloned().collect();
        if others.len() == choices.len() {
            continue;
        }
        object.insert("nullable".into(), json!(true));
        if others.len() == 1 {
            object.remove(key);
            object.insert("allOf".into(), Value::Array(others));
        } else {
            object.insert(key.into(), Value::Array(others));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Value) -> Value {
        let mut value = value;
        schema(&mut value);
        value
    }

    #[test]
    fn a_schema_says_the_same_in_the_older_dialect() {
        for (new, old) in [
            (
                json!({"type": ["string", "null"]}),
                json!({"type": "string", "nullable": true}),
            ),
            (
                json!({"oneOf": [{"$ref": "#/x"}, {"type": "null"}], "description": "d"}),
                json!({"allOf": [{"$ref": "#/x"}], "nullable": true, "description": "d"}),
            ),
            (
                json!({"$ref": "#/x", "description": "d"}),
                json!({"allOf": [{"$ref": "#/x"}], "description": "d"}),
            ),
            (json!({"$ref": "#/x"}), json!({"$ref": "#/x"})),
            (
                json!({"type": "number", "exclusiveMinimum": 0, "examples": [1, 2]}),
                json!({"type": "number", "minimum": 0, "exclusiveMinimum": true, "example": 1}),
            ),
            (
                json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": ["string", "null"]}}),
                json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}}),
            ),
        ] {
            assert_eq!(of(new), old);
        }
    }

    #[test]
    fn an_operation_says_what_generators_can_make_something_of() {
        let stream = json!({"text/event-stream": {"schema": {"type": "string"}}});
        let document = json!({
            "paths": {
                "/a": {"post": {"operationId": "make_a", "responses": {"201": {"description": "made"}}}},
                "/b": {"get": {
                    "operationId": "follow_b",
                    "parameters": [{"in": "header", "name": "last", "schema": {"type": ["string", "null"]}}],
                    "responses": {"200": {"content": stream}, "204": {"description": "over"}}
                }}
            },
            "components": {"schemas": {"MakeAResponse": {"type": "object"}, "BResponse": {"type": "object"}}}
        });
        let older = converted(&document);
        assert_eq!(older["paths"]["/a"], document["paths"]["/a"], "nothing is added");
        let follow = &older["paths"]["/b"]["get"];
        assert_eq!(follow["parameters"][0]["schema"], json!({"type": "string"}));
        assert_eq!(follow["responses"]["204"]["content"], stream);
        assert_eq!(
            older["components"]["schemas"],
            json!({"MakeAResponse": {"type": "object", "x-go-name": "MakeAResult"}, "BResponse": {"type": "object"}})
        );
    }
}
