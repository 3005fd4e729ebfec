use regex::Regex;
use serde_json::Value;

/// Says what in `value` is not as `schema`, a part of `document`, says.
///
/// It knows the part of JSON Schema that the description of the API uses, and panics at any other keyword: what it
/// does not know, it must not let pass.
pub(crate) fn problems(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(document, schema, value, "", &mut problems);
    problems
}

fn check(document: &Value, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let fits = |schema: &Value| self::problems(document, schema, value).is_empty();
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let length = || value.as_array().map_or(0, Vec::len) as u64;
        let is_right = match keyword.as_str() {
            "$ref" => {
                let path =
                    rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a place in the document");
                let target = document.pointer(path).unwrap_or_else(|| panic!("there is no {path}"));
                check(document, target, value, at, problems);
                true
            }
            "allOf" => {
                members(rule).iter().for_each(|part| check(document, part, value, at, problems));
                true
            }
            "oneOf" => members(rule).iter().filter(|choice| fits(choice)).count() == 1,
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| is_of_type(value, name)),
                name => is_of_type(value, name),
            },
            "enum" => members(rule).contains(value),
            "required" => {
                let names = members(rule).iter().filter_map(Value::as_str);
                !value.is_object() || names.into_iter().all(|name| value.get(name).is_some())
            }
            "properties" => {
                let fields = rule.as_object().expect("schemas by name");
                for (name, schema) in fields {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value, &format!("{at}/{name}"), problems);
                    }
                }
                let is_known = |name: &String| fields.contains_key(name);
                schema["additionalProperties"] != false
                    || value.as_object().is_none_or(|object| object.keys().all(is_known))
            }
            "additionalProperties" if rule.is_object() => {
                let named = |name: &String| schema["properties"].get(name).is_some();
                let others = value.as_object().into_iter().flatten().filter(|(name, _)| !named(name));
                for (name, value) in others {
                    check(document, rule, value, &format!("{at}/{name}"), problems);
                }
                true
            }
            "additionalProperties" => *rule == false,
            "propertyNames" => value.as_object().is_none_or(|object| {
                object.keys().all(|name| self::problems(document, rule, &name.as_str().into()).is_empty())
            }),
            "maxProperties" => value.as_object().is_none_or(|object| object.len() as u64 <= number(rule)),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{at}/{i}"), problems);
                }
                true
            }
            "minItems" => !value.is_array() || length() >= number(rule),
            "maxItems" => length() <= number(rule),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= number(rule)),
            "minimum" => value.as_f64().is_none_or(|value| rule.as_f64().is_some_and(|least| value >= least)),
            "maximum" => value.as_f64().is_none_or(|value| rule.as_f64().is_some_and(|most| value <= most)),
            "exclusiveMinimum" => {
                value.as_f64().is_none_or(|value| rule.as_f64().is_some_and(|least| value > least))
            }
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= number(rule)),
            "pattern" => value.as_str().is_none_or(|text| {
                Regex::new(rule.as_str().expect("a text")).expect("a pattern").is_match(text)
            }),
            "description" | "default" | "example" | "format" | "contentMediaType" => true,
            unknown => panic!("say here what `{unknown}` means"),
        };
        if !is_right {
            problems.push(format!("at `{at}`: {value} is not right by `{keyword}`: {rule}"));
        }
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        unknown => panic!("there is no type `{unknown}`"),
    }
}

fn members(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn number(rule: &Value) -> u64 {
    rule.as_u64().expect("a number")
}

#[test]
fn what_does_not_conform_is_found() {
    let document = serde_json::json!({"schemas": {
        "Name": {"type": "string", "pattern": "^[a-z]+$"},
        "Pair": {
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {"a": {"$ref": "#/schemas/Name"}, "b": {"type": ["integer", "null"], "maximum": 9}},
        },
        "Numbers": {
            "type": "object", "propertyNames": {"type": "string", "pattern": "^[0-9]+$"}, "maxProperties": 2,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
        },
        "Either": {"oneOf": [
            {"$ref": "#/schemas/Pair"}, {"type": "array", "items": {"type": "boolean"}}, {"$ref": "#/schemas/Numbers"},
            {"type": "string", "maxLength": 3},
        ]},
    }});
    let check = |json: &str, expected: bool| {
        let value = serde_json::from_str(json).expect("JSON");
        let problems = problems(&document, &document["schemas"]["Either"], &value);
        assert_eq!(problems.is_empty(), expected, "{json}: {problems:?}");
    };
    for right in [
        r#"{"a":"x"}"#,
        r#"{"a":"x","b":null}"#,
        r#"{"a":"x","b":9}"#,
        "[]",
        "[true]",
        r#"{"5":0.5}"#,
        r#""abc""#,
    ] {
        check(right, true);
    }
    for wrong in [
        r#"{"5":0}"#,
        r#"{"x":1}"#,
        r#"{"1":1,"2":2,"3":3}"#,
        r#""abcd""#,
        r#"{"a":"X"}"#,
        r#"{"a":"x","b":10}"#,
        r#"{"a":"x","c":1}"#,
        r#"{"a":1}"#,
        "[1]",
        "null",
    ] {
        check(wrong, false);
    }
}
