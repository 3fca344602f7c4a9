//! A change of the document that would break a client of the published one is noticed.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Which way a value goes: what is safe to change differs.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Request,
    Response,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    breaks: BTreeSet<String>,
    /// Pairs of named schemas that are being compared, or were.
    seen: BTreeSet<(String, String, bool)>,
}

/// What in the new document breaks a client of the old one, one sentence each.
fn breaks(old: &Value, new: &Value) -> BTreeSet<String> {
    let mut comparison = Comparison {
        old,
        new,
        breaks: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    for (path, item) in entries(&old["paths"]) {
        for (method, operation) in entries(item) {
            let at = format!("{} {path}", method.to_uppercase());
            match new["paths"][path].get(method) {
                None => comparison.say(&at, "the operation is gone"),
                Some(now) => comparison.operation(&at, operation, now),
            }
        }
    }
    for (name, scheme) in entries(&old["components"]["securitySchemes"]) {
        let now = &new["components"]["securitySchemes"][name];
        for key in ["type", "scheme", "in", "name", "flows", "openIdConnectUrl"] {
            if scheme[key] != now[key] {
                comparison.say(
                    name,
                    &format!("the {key} of this security scheme was {} and is {}", scheme[key], now[key]),
                );
            }
        }
    }
    comparison.breaks
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        Value::Null => BTreeSet::new(),
        other => BTreeSet::from([text(other)]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToString::to_string)
}

impl Comparison<'_> {
    fn say(&mut self, at: &str, what: &str) {
        self.breaks.insert(format!("{at}: {what}"));
    }

    fn operation(&mut self, at: &str, old: &Value, new: &Value) {
        if old["operationId"] != new["operationId"] {
            self.say(at, "another operationId: generated functions are named by it");
        }
        self.security(at, old, new);
        self.parameters(at, old, new);
        let body = |o: &Value| o.pointer("/requestBody/content/application~1json/schema").cloned();
        let required = |o: &Value| o["requestBody"]["required"] == json!(true);
        match (body(old), body(new)) {
            (Some(old_body), Some(new_body)) => self.schema(&format!("{at} request"), &old_body, &new_body, Way::Request),
            (Some(_), None) => self.say(at, "it takes no body any more"),
            _ => {}
        }
        if required(new) && !required(old) {
            self.say(at, "the body is required now");
        }
        for (status, response) in entries(&old["responses"]) {
            let Some(now) = new["responses"].get(status) else {
                self.say(at, &format!("response {status} is gone"));
                continue;
            };
            self.headers(&format!("{at} {status}"), response, now);
            for (media, content) in entries(&response["content"]) {
                match now["content"].get(media) {
                    None => self.say(at, &format!("response {status} is no {media} any more")),
                    Some(new_content) => self.schema(
                        &format!("{at} {status}"),
                        &content["schema"],
                        &new_content["schema"],
                        Way::Response,
                    ),
                }
            }
        }
        let succeeds = |o: &Value| {
            entries(&o["responses"])
                .map(|(s, _)| s.clone())
                .filter(|s| s.starts_with('2'))
                .collect::<BTreeSet<_>>()
        };
        for status in succeeds(new).difference(&succeeds(old)) {
            self.say(at, &format!("it may succeed with {status} now"));
        }
    }

    fn parameters(&mut self, at: &str, old: &Value, new: &Value) {
        let find = |o: &Value, p: &Value| {
            let list = o["parameters"].as_array().into_iter().flatten();
            list.into_iter()
                .find(|q| q["name"] == p["name"] && q["in"] == p["in"])
                .cloned()
        };
        for parameter in old["parameters"].as_array().into_iter().flatten() {
            let name = text(&parameter["name"]);
            match find(new, parameter) {
                None => self.say(at, &format!("parameter {name} is gone")),
                Some(now) => self.schema(
                    &format!("{at} parameter {name}"),
                    &parameter["schema"],
                    &now["schema"],
                    Way::Request,
                ),
            }
        }
        for parameter in new["parameters"].as_array().into_iter().flatten() {
            let was = find(old, parameter);
            if parameter["required"] == json!(true) && was.is_none_or(|w| w["required"] != json!(true)) {
                self.say(at, &format!("parameter {} is required now", text(&parameter["name"])));
            }
        }
    }

    /// Follows references; gives the schema and its name.
    fn resolved(document: &Value, schema: &Value) -> (Value, String) {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                (
                    document.pointer(pointer).cloned().unwrap_or_default(),
                    reference.rsplit('/').next().unwrap_or_default().to_string(),
                )
            }
            None => (schema.clone(), String::new()),
        }
    }

    /// A schema with `allOf`, and choices between one thing and `null`, laid out flat.
    fn flat(document: &Value, schema: &Value) -> Value {
        let (mut schema, _) = Self::resolved(document, schema);
        for key in ["oneOf", "anyOf"] {
            let Some(choices) = schema[key].as_array().cloned() else {
                continue;
            };
            let (nulls, others): (Vec<Value>, Vec<Value>) = choices.into_iter().partition(|c| c["type"] == "null");
            if let [only] = others.as_slice() {
                let mut inner = Self::flat(document, only);
                if !nulls.is_empty() {
                    let mut types = texts(&inner["type"]);
                    types.insert("null".into());
                    inner["type"] = json!(types);
                }
                return inner;
            }
        }
        let parts = schema["allOf"].as_array().cloned().unwrap_or_default();
        for part in parts {
            let part = Self::flat(document, &part);
            schema["type"] = part["type"].clone();
            for (name, property) in entries(&part["properties"]) {
                schema["properties"][name] = property.clone();
            }
            let mut required = texts(&schema["required"]);
            required.extend(texts(&part["required"]));
            schema["required"] = json!(required);
        }
        schema
    }

    fn schema(&mut self, at: &str, old: &Value, new: &Value, way: Way) {
        let names = (text(&old["$ref"]), text(&new["$ref"]), way == Way::Request);
        if old["$ref"].is_string() && new["$ref"].is_string() && !self.seen.insert(names) {
            return;
        }
        // what is wrong with a named schema is said once, by its name
        let at = match old["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
            Some(name) => format!("{} {name}", if way == Way::Request { "request" } else { "response" }),
            None => at.to_string(),
        };
        let (old, new) = (Self::flat(self.old, old), Self::flat(self.new, new));
        self.values(&at, &old, &new, way);
        let (was, is) = (texts(&old["required"]), texts(&new["required"]));
        match way {
            Way::Request => is
                .difference(&was)
                .for_each(|name| self.say(&at, &format!("{name} is required now"))),
            Way::Response => was
                .difference(&is)
                .for_each(|name| self.say(&at, &format!("{name} may be missing now"))),
        }
        for (name, property) in entries(&old["properties"]) {
            match new["properties"].get(name) {
                None => self.say(&at, &format!("{name} is gone")),
                Some(now) => self.schema(&format!("{at}.{name}"), property, now, way),
            }
        }
        for key in ["items", "additionalProperties"] {
            if old[key].is_object() && new[key].is_object() {
                self.schema(&format!("{at}[]"), &old[key], &new[key], way);
            }
        }
        let choices = |s: &Value| s["oneOf"].as_array().cloned().unwrap_or_default();
        for (n, (before, after)) in choices(&old).iter().zip(choices(&new)).enumerate() {
            self.schema(&format!("{at}|{n}"), before, &after, way);
        }
        if choices(&old).len() > choices(&new).len() {
            self.say(&at, "a choice is gone");
        }
    }

    fn values(&mut self, at: &str, old: &Value, new: &Value, way: Way) {
        self.types(at, old, new, way);
        let (was, is) = (texts(&old["enum"]), texts(&new["enum"]));
        match way {
            Way::Request if was.is_empty() && !is.is_empty() => {
                self.say(at, &format!("only {} are values now", join(&is)));
            }
            Way::Request if is.is_empty() => {}
            Way::Request => was
                .difference(&is)
                .for_each(|value| self.say(at, &format!("{value} is no value any more"))),
            Way::Response if was.is_empty() => {}
            Way::Response if is.is_empty() => {
                self.say(at, &format!("its values were {} and may be any now", join(&was)));
            }
            Way::Response => is
                .difference(&was)
                .for_each(|value| self.say(at, &format!("{value} is a new value, which clients don't know"))),
        }
        // generated types are chosen by it, so that a new one breaks clients in both directions
        if old["format"] != new["format"] {
            self.say(at, &format!("its format was {} and is {}", old["format"], new["format"]));
        }
        if way == Way::Request {
            self.bounds(at, old, new);
        }
    }

    fn types(&mut self, at: &str, old: &Value, new: &Value, way: Way) {
        let (was, is) = (types_of(old), types_of(new));
        let has_choices = |s: &Value| s["oneOf"].is_array() || s["anyOf"].is_array();
        // no type: anything, unless it is said by choices, which are compared one by one
        let fits = match way {
            Way::Request if was.is_empty() => is.is_empty() || has_choices(old),
            Way::Response if is.is_empty() => was.is_empty() || has_choices(new),
            Way::Request => is.is_superset(&was) || is.is_empty(),
            Way::Response => is.is_subset(&was) || was.is_empty(),
        };
        if !fits {
            self.say(at, &format!("its type was {} and is {}", join(&was), join(&is)));
        }
    }

    /// What a request may hold: every bound that is new or closer refuses what was taken.
    fn bounds(&mut self, at: &str, old: &Value, new: &Value) {
        for key in [
            "minimum",
            "exclusiveMinimum",
            "minLength",
            "minItems",
            "minProperties",
            "maximum",
            "exclusiveMaximum",
            "maxLength",
            "maxItems",
            "maxProperties",
        ] {
            let is_low = key.to_lowercase().contains("min");
            // nothing is shorter than 0
            let was = old[key]
                .as_f64()
                .or((is_low && key != "minimum" && key != "exclusiveMinimum").then_some(0.0));
            let closer = match (was, new[key].as_f64()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(is)) if is_low => is > was,
                (Some(was), Some(is)) => is < was,
            };
            if closer {
                self.say(at, &format!("its {key} was {} and is {}", old[key], new[key]));
            }
        }
        for key in ["pattern", "multipleOf", "const"] {
            if !new[key].is_null() && new[key] != old[key] {
                self.say(at, &format!("its {key} was {} and is {}", old[key], new[key]));
            }
        }
        if new["uniqueItems"] == json!(true) && old["uniqueItems"] != json!(true) {
            self.say(at, "its entries must differ now");
        }
        if new["additionalProperties"] == json!(false) && old["additionalProperties"] != json!(false) {
            self.say(at, "other fields are refused now");
        }
    }

    /// Who showed enough before shows enough now, in the same way.
    fn security(&mut self, at: &str, old: &Value, new: &Value) {
        let ways = |document: &Value, operation: &Value| -> BTreeSet<String> {
            let own = match &operation["security"] {
                Value::Null => &document["security"],
                own => own,
            };
            let ways: BTreeSet<String> = own.as_array().into_iter().flatten().map(ToString::to_string).collect();
            // no requirement at all is the same as an empty one
            if ways.is_empty() {
                BTreeSet::from(["{}".into()])
            } else {
                ways
            }
        };
        let (was, is) = (ways(self.old, old), ways(self.new, new));
        for way in was.difference(&is) {
            self.say(at, &format!("the security {way} is not enough any more"));
        }
    }

    fn headers(&mut self, at: &str, old: &Value, new: &Value) {
        for (name, header) in entries(&old["headers"]) {
            let now = entries(&new["headers"]).find(|(n, _)| n.eq_ignore_ascii_case(name));
            let Some((_, now)) = now else {
                self.say(at, &format!("header {name} is gone"));
                continue;
            };
            let (was, now) = (Self::resolved(self.old, header).0, Self::resolved(self.new, now).0);
            self.schema(&format!("{at} header {name}"), &was["schema"], &now["schema"], Way::Response);
        }
    }
}

/// Types of a schema; of one without, those of its values.
fn types_of(schema: &Value) -> BTreeSet<String> {
    let said = texts(&schema["type"]);
    if !said.is_empty() {
        return said;
    }
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let values = schema["enum"].as_array().into_iter().flatten();
    values.map(|value| kind(value).to_string()).collect()
}

fn join(texts: &BTreeSet<String>) -> String {
    texts.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{}/openapi/{name}", env!("CARGO_MANIFEST_DIR"))).expect("is there")
}

/// The entries of a list. `make publish-openapi` keeps its head, which ends with a line of dashes, and nothing else.
fn listed(name: &str) -> BTreeSet<String> {
    let list = read(name);
    let (head, list) = list.split_once("# ---\n").expect("the end of the head");
    assert!(head.lines().all(|l| l.starts_with('#')), "{name}: the head has entries");
    let entries = list.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    entries.map(ToString::to_string).collect()
}

#[test]
fn no_client_of_the_published_document_is_broken_unless_that_is_intended() {
    let document = |name: &str| serde_json::from_str::<Value>(&read(name)).expect("JSON");
    let found = breaks(&document("published.json"), &document("openapi.json"));
    let intended = listed("intended-breaks.txt");
    let unexpected: Vec<&String> = found.difference(&intended).collect();
    assert!(
        unexpected.is_empty(),
        "these changes break clients; list them in openapi/intended-breaks.txt if that is wanted:\n{unexpected:#?}"
    );
    let idle: Vec<&String> = intended.difference(&found).collect();
    assert!(idle.is_empty(), "openapi/intended-breaks.txt lists what is none: {idle:#?}");
}

/// Every operation of a document: method and path.
fn operations(document: &Value) -> BTreeSet<String> {
    let items = entries(&document["paths"]);
    items
        .flat_map(|(path, item)| entries(item).map(move |(method, _)| format!("{} {path}", method.to_uppercase())))
        .collect()
}

/// Operations of which the published document says nothing are compared with nothing: they are listed until they are published.
#[test]
fn every_operation_is_published_or_listed_as_new() {
    let of = |name: &str| operations(&serde_json::from_str(&read(name)).expect("JSON"));
    let (now, published) = (of("openapi.json"), of("published.json"));
    let unprotected: BTreeSet<String> = now.difference(&published).cloned().collect();
    assert_eq!(
        unprotected,
        listed("new-operations.txt"),
        "left: operations that published.json lacks; right: openapi/new-operations.txt. Add new ones there, or run `make publish-openapi`"
    );
}

/// A small document with one operation.
fn small() -> Value {
    json!({"paths": {"/t/{id}": {"patch": {
        "operationId": "change_t",
        "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}, {"name": "q", "in": "query", "schema": {"type": ["string", "null"]}}],
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/In"}}}},
        "responses": {"200": {"headers": {"etag": {"schema": {"type": "string"}}}, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Out"}}}}, "404": {}}
    }}}, "security": [{"bearer": []}, {}], "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}, "schemas": {
        "In": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "any": {}, "mode": {"enum": ["x", "y"]}, "in": {"$ref": "#/components/schemas/In"},
            "size": {"type": "integer", "minimum": 0, "maximum": 10}, "name": {"type": "string", "pattern": "^a", "minLength": 1, "maxLength": 9}, "list": {"type": "array", "maxItems": 5}}},
        "Out": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"type": "object", "required": ["b"], "properties": {"b": {"oneOf": [{"type": "null"}, {"type": "integer", "format": "int64"}]}}}]},
        "Base": {"type": "object", "properties": {"state": {"enum": ["on"]}, "list": {"type": "array", "items": {"type": "string"}}}}
    }}})
}

#[test]
fn what_breaks_clients_is_told_from_what_does_not() {
    let schema = "/components/schemas";
    let operation = "/paths/~1t~1{id}/patch";
    for (pointer, value, said) in [
        // breaks
        (operation.to_string(), None, "PATCH /t/{id}: the operation is gone"),
        (
            format!("{operation}/operationId"),
            Some(json!("other")),
            "another operationId",
        ),
        (format!("{operation}/parameters/1"), None, "parameter q is gone"),
        (
            format!("{operation}/parameters/1/required"),
            Some(json!(true)),
            "parameter q is required now",
        ),
        (
            format!("{operation}/parameters/1/schema/type"),
            Some(json!("string")),
            "its type was null or string and is string",
        ),
        (
            format!("{operation}/requestBody/required"),
            Some(json!(true)),
            "the body is required now",
        ),
        (format!("{operation}/responses/404"), None, "response 404 is gone"),
        (
            format!("{operation}/responses/202"),
            Some(json!({})),
            "it may succeed with 202 now",
        ),
        (format!("{schema}/In/properties/a"), None, "request In: a is gone"),
        (
            format!("{schema}/In/required"),
            Some(json!(["a", "mode"])),
            "request In: mode is required now",
        ),
        (
            format!("{schema}/In/properties/mode/enum"),
            Some(json!(["x"])),
            "y is no value any more",
        ),
        (
            format!("{schema}/In/properties/a/type"),
            Some(json!("integer")),
            "its type was string and is integer",
        ),
        (format!("{schema}/Base/properties/state"), None, "response Out: state is gone"),
        (
            format!("{schema}/Base/properties/state/enum"),
            Some(json!(["on", "off"])),
            "off is a new value",
        ),
        (
            format!("{schema}/Base/properties/list/items/type"),
            Some(json!("integer")),
            "list[]: its type was string and is integer",
        ),
        (
            format!("{schema}/Out/allOf/1/required"),
            Some(json!([])),
            "response Out: b may be missing now",
        ),
        (
            format!("{schema}/Out/allOf/1/properties/b/oneOf/1/format"),
            Some(json!("int32")),
            "its format was",
        ),
        // a request that was taken is refused
        (
            format!("{schema}/In/properties/a/pattern"),
            Some(json!("^a")),
            "request In.a: its pattern was null and is \"^a\"",
        ),
        (
            format!("{schema}/In/properties/name/pattern"),
            Some(json!("^aa")),
            "its pattern was \"^a\" and is \"^aa\"",
        ),
        (
            format!("{schema}/In/properties/size/minimum"),
            Some(json!(1)),
            "its minimum was 0 and is 1",
        ),
        (
            format!("{schema}/In/properties/size/maximum"),
            Some(json!(9)),
            "its maximum was 10 and is 9",
        ),
        (
            format!("{schema}/In/properties/name/maxLength"),
            Some(json!(8)),
            "its maxLength was 9 and is 8",
        ),
        (
            format!("{schema}/In/properties/a/minLength"),
            Some(json!(1)),
            "its minLength was null and is 1",
        ),
        (
            format!("{schema}/In/properties/list/maxItems"),
            Some(json!(4)),
            "its maxItems was 5 and is 4",
        ),
        (
            format!("{schema}/In/properties/a/enum"),
            Some(json!(["u", "v"])),
            "request In.a: only u or v are values now",
        ),
        (
            format!("{schema}/In/properties/any/type"),
            Some(json!("string")),
            "request In.any: its type was  and is string",
        ),
        (
            format!("{schema}/In/properties/a/format"),
            Some(json!("uuid")),
            "its format was null and is \"uuid\"",
        ),
        (
            format!("{schema}/In/additionalProperties"),
            Some(json!(false)),
            "other fields are refused now",
        ),
        (
            format!("{operation}/parameters/0/schema/pattern"),
            Some(json!("^[0-9]+$")),
            "parameter id: its pattern",
        ),
        // an answer that may hold what it could not
        (
            format!("{schema}/Base/properties/state/enum"),
            None,
            "response Out.state: its values were on and may be any now",
        ),
        (
            format!("{schema}/Base/properties/list/items/type"),
            None,
            "list[]: its type was string and is ",
        ),
        (
            format!("{operation}/responses/200/headers/etag"),
            None,
            "PATCH /t/{id} 200: header etag is gone",
        ),
        (
            format!("{operation}/responses/200/headers/etag/schema/type"),
            Some(json!("integer")),
            "header etag: its type was string and is integer",
        ),
        // who may call
        (
            "/security".to_string(),
            Some(json!([{"bearer": []}])),
            "the security {} is not enough any more",
        ),
        (
            format!("{operation}/security"),
            Some(json!([{"other": []}, {}])),
            "the security {\"bearer\":[]} is not enough any more",
        ),
        (
            "/components/securitySchemes/bearer/scheme".to_string(),
            Some(json!("basic")),
            "the scheme of this security scheme was",
        ),
        // doesn't
        (format!("{schema}/In/properties/name/pattern"), None, ""),
        (format!("{schema}/In/properties/name/maxLength"), Some(json!(20)), ""),
        (format!("{schema}/In/properties/size/minimum"), Some(json!(-1)), ""),
        (format!("{schema}/In/properties/a/minLength"), Some(json!(0)), ""),
        (format!("{schema}/In/properties/mode/type"), Some(json!("string")), ""),
        (format!("{schema}/Base/properties/list/maxItems"), Some(json!(3)), ""),
        (format!("{schema}/Base/properties/state/pattern"), Some(json!("^on$")), ""),
        (format!("{schema}/Base/properties/state/type"), Some(json!("string")), ""),
        (
            format!("{operation}/responses/200/headers/retry-after"),
            Some(json!({"schema": {"type": "integer"}})),
            "",
        ),
        (
            format!("{operation}/security"),
            Some(json!([{"bearer": []}, {}, {"other": []}])),
            "",
        ),
        (format!("{schema}/In/properties/more"), Some(json!({"type": "string"})), ""),
        (format!("{schema}/In/required"), Some(json!([])), ""),
        (format!("{schema}/In/properties/mode/enum"), Some(json!(["x", "y", "z"])), ""),
        (format!("{schema}/In/properties/a/type"), Some(json!(["string", "null"])), ""),
        (format!("{schema}/Base/properties/more"), Some(json!({"type": "string"})), ""),
        (
            format!("{schema}/Out/allOf/1/properties/b"),
            Some(json!({"type": "integer", "format": "int64"})),
            "",
        ),
        (format!("{operation}/responses/409"), Some(json!({})), ""),
        (format!("{operation}/description"), Some(json!("said better")), ""),
    ] {
        let mut new = small();
        let (parent, key) = pointer.rsplit_once('/').expect("a parent");
        let parent = new.pointer_mut(parent).expect("a parent");
        match (value, key.parse::<usize>()) {
            (Some(value), _) => parent[key] = value,
            (None, Ok(at)) if parent.is_array() => drop(parent.as_array_mut().expect("a list").remove(at)),
            (None, _) => drop(parent.as_object_mut().expect("an object").remove(key)),
        }
        let found = breaks(&small(), &new);
        if said.is_empty() {
            assert_eq!(found, BTreeSet::new(), "{pointer}");
        } else {
            assert!(
                found.iter().any(|b| b.contains(said)),
                "{pointer}: {said:?} is not in {found:?}"
            );
        }
    }
}
