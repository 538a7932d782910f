//! A YAML file with the position of every node, validated against its JSON Schema.
//!
//! This is the schema that editors use, so both accept the same keys. Unknown keys and values of a wrong type are reported and
//! removed, so that the rest can be checked in the same run.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::{Location, Spanned, options::DuplicateKeyPolicy};

use super::{ConfigError, ConfigErrors, hints};
use crate::secret::looks_like_secret;

/// Maximum nesting, three times what a configuration needs. Parsing is recursive, and the thread's stack is limited.
const MAX_DEPTH: usize = 16;

/// Line and column, counted from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

pub struct Document<'a> {
    root: Spanned<Yaml>,
    text: &'a str,
}

enum Yaml {
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
    Null,
    /// A scalar that is not a string to the library. It is read from the text again, because `007` may be a name.
    Plain,
    String(String),
}

// === impl Document ===

impl<'a> Document<'a> {
    /// # Errors
    ///
    /// The first syntax error with its position, but without source text, which could be a secret.
    pub fn parse(text: &'a str) -> Result<Self, ConfigError> {
        if let Some((position, problem)) = hints::find_special_space(text) {
            return Err(ConfigError { position: Some(position), problem, ..ConfigError::default() });
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        let root = serde_saphyr::from_str_with_options(text, options).map_err(|err| {
            let words = err.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let position = err.location().map(position);
            match position.and_then(|position| hints::tab_before(text, position)) {
                Some(tab) => {
                    ConfigError { position: Some(tab), problem: hints::TAB.to_owned(), ..ConfigError::default() }
                }
                None => ConfigError { position, problem: hints::syntax(&words).to_owned(), ..ConfigError::default() },
            }
        })?;
        Ok(Self { root, text })
    }

    /// Deserializes the part that is valid by `schema`; the rest is added to `errors`. The schema must be generated from `T`.
    pub fn read<T: DeserializeOwned + Default>(&self, schema: &str, errors: &mut ConfigErrors) -> T {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        let mut check = SchemaCheck { document: self, errors, schema: &schema };
        let value = check.node(&self.root, &schema, "").unwrap_or_else(|| Value::Object(Default::default()));
        serde_json::from_value(value).unwrap_or_else(|_| {
            // The schema is generated from `T`.
            errors.add("", "cannot be read; please report this as a bug");
            T::default()
        })
    }

    /// Position of a key path such as `clusters[0].url`, or of its closest ancestor.
    pub fn position(&self, path: &str) -> Option<Position> {
        let mut last = None;
        self.walk(path, &mut |location| last = Some(position(location)));
        last
    }

    /// The scalar at a key path.
    pub fn scalar(&self, path: &str) -> Option<&str> {
        self.text_of(self.walk(path, &mut |_| {})?)
    }

    /// The text of a scalar.
    fn text_of<'b>(&'b self, node: &'b Spanned<Yaml>) -> Option<&'b str> {
        match &node.value {
            Yaml::List(_) | Yaml::Map(_) | Yaml::Null => None,
            Yaml::Plain => {
                let span = node.defined.span();
                let start = usize::try_from(span.byte_offset()?).ok()?;
                self.text.get(start..start.checked_add(usize::try_from(span.byte_len()?).ok()?)?)
            }
            Yaml::String(text) => Some(text),
        }
    }

    /// Follows `path`, and calls `visit` with the location of each key or item. `None` if the path does not exist.
    fn walk(&self, path: &str, visit: &mut impl FnMut(Location)) -> Option<&Spanned<Yaml>> {
        visit(self.root.defined);
        let (mut node, mut rest) = (&self.root, path);
        while !rest.is_empty() {
            match &node.value {
                Yaml::List(items) => {
                    let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                    node = items.get(index.parse::<usize>().ok()?)?;
                    visit(node.defined);
                    rest = after;
                }
                Yaml::Map(entries) => {
                    rest = rest.strip_prefix('.').unwrap_or(rest);
                    // Keys can contain dots, so whole keys are compared. The last of duplicate keys wins.
                    let found = entries.iter().rev().find_map(|(key, child)| {
                        let after = rest.strip_prefix(key.value.as_str())?;
                        (after.is_empty() || after.starts_with(['.', '['])).then_some((key, child, after))
                    });
                    let (key, child, after) = found?;
                    visit(key.defined);
                    (node, rest) = (child, after);
                }
                Yaml::Null | Yaml::Plain | Yaml::String(_) => return None,
            }
        }
        Some(node)
    }
}

fn position(location: Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

/// Validates a document against its schema. Supports the keywords that `schemars` generates.
struct SchemaCheck<'a> {
    document: &'a Document<'a>,
    errors: &'a mut ConfigErrors,
    schema: &'a Value,
}

// === impl SchemaCheck ===

impl<'a> SchemaCheck<'a> {
    /// The valid part of `node`; `None` if nothing is valid.
    fn node(&mut self, node: &Spanned<Yaml>, schema: &'a Value, path: &str) -> Option<Value> {
        let schema = resolve(self.schema, schema);
        if schema.get("not").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            // The key is not allowed. Its value is ignored.
            return Some(Value::Bool(true));
        }
        let kind = types(schema).next()?;
        let may_be_secret = schema.get("x-secret").is_some();
        let problem = match (kind, &node.value, self.document.text_of(node)) {
            (_, Yaml::Null, _) => return None,
            ("object", Yaml::Map(entries), _) => return Some(self.map(entries, schema, path)),
            ("object", ..) => "must be a mapping (`key: value`)",
            ("array", Yaml::List(items), _) => {
                let of = schema.get("items").unwrap_or(&Value::Null);
                let item = |(index, item)| {
                    // An invalid item is replaced, not removed, so that the others keep their index.
                    let valid = self.node(item, of, &format!("{path}[{index}]"));
                    valid.unwrap_or_else(|| empty_value(resolve(self.schema, of)))
                };
                return Some(Value::Array(items.iter().enumerate().map(item).collect()));
            }
            (_, _, Some(text)) if looks_like_secret(text) && !may_be_secret => hints::SECRET,
            ("string" | "array", _, Some(text)) if text.contains(char::is_control) && !may_be_secret => hints::CONTROL,
            ("string" | "array", _, Some(text)) if types(schema).any(|kind| kind == "string") => {
                return Some(text.into());
            }
            ("string", ..) => "must be a single value, not a list or a mapping",
            ("array", ..) => "must be a list (`- item`)",
            ("integer", _, text) => match text.and_then(|text| text.parse::<u32>().ok()) {
                Some(number) => return Some(number.into()),
                None => "must be an integer",
            },
            ("boolean", _, text) => match text.map(str::to_ascii_lowercase).as_deref() {
                Some("true" | "yes" | "on") => return Some(true.into()),
                Some("false" | "no" | "off") => return Some(false.into()),
                _ => "must be true or false",
            },
            _ => return None,
        };
        self.error(path.to_owned(), node.defined, problem.to_owned());
        None
    }

    fn map(&mut self, entries: &[(Spanned<String>, Spanned<Yaml>)], schema: &'a Value, path: &str) -> Value {
        let mut map = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let other = schema.get("additionalProperties").filter(|other| other.is_object());
        let mut seen = HashSet::new();
        for (Spanned { value: key, defined, .. }, node) in entries {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if !seen.insert(key) {
                self.error(inner, *defined, "is defined twice; remove one of them".to_owned());
            } else if let Some(known) = properties.and_then(|properties| properties.get(key)).or(other) {
                map.extend(self.node(node, known, &inner).map(|value| (key.clone(), value)));
            } else if !patterns
                .is_some_and(|patterns| patterns.keys().any(|start| key.starts_with(start.trim_start_matches('^'))))
            {
                let here: Vec<&str> = properties.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
                let shown = hints::is_safe_to_show(key);
                let problem = hints::unknown_key(key, &here, section_with(self.schema, key).as_deref());
                self.error(if shown { inner } else { format!("{path}.(not shown)") }, *defined, problem);
            }
        }
        Value::Object(map)
    }

    fn error(&mut self, key: String, at: Location, problem: String) {
        self.errors.push(ConfigError { key, position: Some(position(at)), problem, ..ConfigError::default() });
    }
}

/// A section that has the key `key`: the first one by name.
fn section_with(root: &Value, key: &str) -> Option<String> {
    let definitions = root.get("$defs").and_then(Value::as_object);
    let all = definitions.into_iter().flat_map(|all| all.values()).chain([root]);
    let sections = all.filter_map(|each| each.get("properties")?.as_object()).flatten();
    let with_key = sections
        .filter(|(_, section)| resolve(root, section).get("properties").is_some_and(|keys| keys.get(key).is_some()));
    with_key.map(|(name, _)| name.clone()).min()
}

/// All keys with their descriptions, for the manual. Keys of a section are separated by dots.
pub fn keys(schema: &str) -> Vec<(String, String)> {
    let root: Value = serde_json::from_str(schema).unwrap_or_default();
    let mut keys = Vec::new();
    collect_keys(&root, &root, "", &mut keys);
    keys
}

fn collect_keys(root: &Value, section: &Value, path: &str, keys: &mut Vec<(String, String)>) {
    for (name, raw) in section.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let schema = resolve(root, raw);
        if schema.get("not").is_some() {
            // Not allowed.
            continue;
        }
        let description = raw.get("description").and_then(Value::as_str).unwrap_or_default();
        keys.push((format!("{path}{name}"), description.replace('\n', " ")));
        // The keys of `global` are listed under `clusters[]`.
        let (inner, path) = match schema.get("items") {
            Some(items) => (resolve(root, items), format!("{path}{name}[].")),
            None => (schema, format!("{path}{name}.")),
        };
        if path != "global." {
            collect_keys(root, inner, &path, keys);
        }
    }
}

/// Follows `$ref`, also inside `anyOf` with null.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let schema = choices.and_then(|choices| choices.iter().find(|each| each.get("$ref").is_some())).unwrap_or(schema);
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#"));
    name.and_then(|name| root.pointer(name)).unwrap_or(schema)
}

/// The allowed types of a value, the preferred one first.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, several) = match schema.get("type") {
        Some(Value::Array(types)) => (None, types.as_slice()),
        one => (one, [].as_slice()),
    };
    one.into_iter().chain(several).filter_map(Value::as_str)
}

fn empty_value(schema: &Value) -> Value {
    match types(schema).next() {
        Some("object") => Value::Object(Default::default()),
        _ => Value::String(String::new()),
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Yaml, E> {
        Ok(Yaml::Plain)
    }

    fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
        Ok(Yaml::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Yaml::Map(entries))
    }
}
