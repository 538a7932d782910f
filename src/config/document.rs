//! A YAML file with the position of every node, validated against its JSON Schema.
//!
//! This is the schema that editors use, so both accept the same keys. Unknown keys and values of a wrong type are reported and
//! removed, so that the rest can be checked in the same run.

use std::fmt;

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

pub struct Document(Node);

struct Node {
    position: Position,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Vec<(String, Position, Node)>),
    Null,
    /// A scalar.
    Text(String),
}

/// A node as the library parses it. Plain scalars are read from the source again, because `007` may be a name.
enum Yaml {
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
    Null,
    Plain,
    Text(String),
}

// === impl Document ===

impl Document {
    /// # Errors
    ///
    /// The first syntax error with its position, but without source text, which could be a secret.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if let Some((position, problem)) = hints::find_special_space(text) {
            return Err(ConfigError { position: Some(position), problem, ..ConfigError::default() });
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            with_snippet: false,
        };
        let root: Spanned<Yaml> = serde_saphyr::from_str_with_options(text, options).map_err(|err| {
            let words = err.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let position = err.location().map(position);
            match position.and_then(|position| hints::tab_before(text, position)) {
                Some(tab) => {
                    ConfigError { position: Some(tab), problem: hints::TAB.to_owned(), ..ConfigError::default() }
                }
                None => ConfigError { position, problem: hints::syntax(&words).to_owned(), ..ConfigError::default() },
            }
        })?;
        Ok(Self(Node::new(text, root)))
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.0.content, Content::Null)
    }

    /// Deserializes the part that is valid by `schema`; the rest is added to `errors`. The schema must be generated from `T`.
    pub fn read<T: DeserializeOwned + Default>(&self, schema: &str, errors: &mut ConfigErrors) -> T {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        let mut check = SchemaCheck { errors, schema: &schema };
        let value = check.node(&self.0, &schema, "").unwrap_or_else(|| Value::Object(Default::default()));
        serde_json::from_value(value).unwrap_or_else(|_| {
            // The schema is generated from `T`.
            errors.add("", "cannot be read; please report this as a bug");
            T::default()
        })
    }

    /// Position of a key path such as `clusters[0].url`, or of its closest ancestor.
    pub fn position(&self, path: &str) -> Option<Position> {
        let mut last = None;
        self.0.walk(path, &mut |node, key| last = Some(key.unwrap_or(node.position)));
        last
    }

    /// The scalar at a key path.
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.0.walk(path, &mut |_, _| {})?.content {
            Content::Text(text) => Some(text),
            Content::List(_) | Content::Map(_) | Content::Null => None,
        }
    }
}

fn position(location: Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

// === impl Node ===

impl Node {
    fn new(source: &str, spanned: Spanned<Yaml>) -> Self {
        let span = spanned.defined.span();
        let source_text = || {
            let (start, length) = (usize::try_from(span.byte_offset()?).ok()?, usize::try_from(span.byte_len()?).ok()?);
            source.get(start..start.checked_add(length)?)
        };
        let content = match spanned.value {
            Yaml::List(items) => Content::List(items.into_iter().map(|item| Self::new(source, item)).collect()),
            Yaml::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.value, position(key.defined), Self::new(source, value)))
                    .collect(),
            ),
            Yaml::Null => Content::Null,
            Yaml::Plain => Content::Text(source_text().unwrap_or_default().to_owned()),
            Yaml::Text(text) => Content::Text(text),
        };
        Self { position: position(spanned.defined), content }
    }

    /// Follows `path`, and calls `visit` with each node and the position of its key. `None` if the path does not exist.
    fn walk<'a>(&'a self, path: &str, visit: &mut impl FnMut(&'a Node, Option<Position>)) -> Option<&'a Node> {
        visit(self, None);
        let (mut node, mut rest) = (self, path);
        while !rest.is_empty() {
            match &node.content {
                Content::List(items) => {
                    let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                    node = items.get(index.parse::<usize>().ok()?)?;
                    visit(node, None);
                    rest = after;
                }
                Content::Map(entries) => {
                    rest = rest.strip_prefix('.').unwrap_or(rest);
                    // Keys can contain dots, so whole keys are compared. The last of duplicate keys wins.
                    let found = entries.iter().rev().find_map(|(key, position, child)| {
                        let after = rest.strip_prefix(key.as_str())?;
                        (after.is_empty() || after.starts_with(['.', '['])).then_some((position, child, after))
                    });
                    let (position, child, after) = found?;
                    visit(child, Some(*position));
                    (node, rest) = (child, after);
                }
                Content::Null | Content::Text(_) => return None,
            }
        }
        Some(node)
    }
}

/// Validates a document against its schema. Supports the keywords that `schemars` generates.
struct SchemaCheck<'a> {
    errors: &'a mut ConfigErrors,
    schema: &'a Value,
}

// === impl SchemaCheck ===

impl<'a> SchemaCheck<'a> {
    /// The valid part of `node`; `None` if nothing is valid.
    fn node(&mut self, node: &Node, schema: &'a Value, path: &str) -> Option<Value> {
        let schema = resolve(self.schema, schema);
        if schema.get("not").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            // The key is not allowed. Its value is ignored.
            return Some(Value::Bool(true));
        }
        let kind = types(schema).next();
        match (kind, &node.content) {
            (_, Content::Null) => None,
            (Some("object"), Content::Map(entries)) => Some(self.map(entries, schema, path)),
            (Some("array"), Content::List(items)) => {
                let (root, of) = (self.schema, schema.get("items").unwrap_or(&Value::Null));
                let item = |(index, item)| {
                    // An invalid item is replaced, not removed, so that the others keep their index.
                    self.node(item, of, &format!("{path}[{index}]")).unwrap_or_else(|| empty_value(root, of))
                };
                Some(Value::Array(items.iter().enumerate().map(item).collect()))
            }
            (Some("string" | "boolean" | "integer" | "array"), Content::Text(text))
                if looks_like_secret(text) && !allows_secret(schema) =>
            {
                self.type_error(path, node, hints::SECRET)
            }
            (Some("string" | "array"), Content::Text(text))
                if text.contains(char::is_control) && !allows_secret(schema) =>
            {
                self.type_error(path, node, hints::CONTROL)
            }
            (Some("string"), Content::Text(text)) => Some(Value::String(text.clone())),
            (Some("array"), Content::Text(text)) if types(schema).any(|kind| kind == "string") => {
                Some(Value::String(text.clone()))
            }
            (Some("boolean"), Content::Text(text)) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(Value::Bool(true)),
                "false" | "no" | "off" => Some(Value::Bool(false)),
                _ => self.type_error(path, node, "must be true or false"),
            },
            (Some("integer"), Content::Text(text)) => match text.parse::<u32>() {
                Ok(number) => Some(number.into()),
                Err(_) => self.type_error(path, node, "must be an integer"),
            },
            (Some("object"), _) => self.type_error(path, node, "must be a mapping (`key: value`)"),
            (Some("array"), _) => self.type_error(path, node, "must be a list (`- item`)"),
            (Some("boolean"), _) => self.type_error(path, node, "must be true or false"),
            (Some("integer"), _) => self.type_error(path, node, "must be an integer"),
            (Some("string"), _) => self.type_error(path, node, "must be a single value, not a list or a mapping"),
            // No type is required.
            _ => None,
        }
    }

    fn map(&mut self, entries: &[(String, Position, Node)], schema: &'a Value, path: &str) -> Value {
        let mut map = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let other = schema.get("additionalProperties").filter(|other| other.is_object());
        let (root, mut seen) = (self.schema, Vec::<&str>::new());
        for (key, position, node) in entries {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if seen.contains(&key.as_str()) {
                self.error(inner, *position, "is defined twice; remove one of them".to_owned());
                continue;
            }
            seen.push(key);
            let known = properties.and_then(|properties| properties.get(key)).or(other);
            if let Some(known) = known {
                if let Some(value) = self.node(node, known, &inner) {
                    map.insert(key.clone(), value);
                }
            } else if !patterns
                .is_some_and(|patterns| patterns.keys().any(|start| key.starts_with(start.trim_start_matches('^'))))
            {
                let here: Vec<&str> = properties.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
                let shown = hints::is_safe_to_show(key);
                let problem = hints::unknown_key(key, &here, &|key| sections_with(root, key));
                self.error(if shown { inner } else { format!("{path}.(not shown)") }, *position, problem);
            }
        }
        Value::Object(map)
    }

    fn type_error(&mut self, path: &str, node: &Node, problem: &str) -> Option<Value> {
        self.error(path.to_owned(), node.position, problem.to_owned());
        None
    }

    fn error(&mut self, key: String, position: Position, problem: String) {
        self.errors.push(ConfigError { key, position: Some(position), problem, ..ConfigError::default() });
    }
}

/// Names of the sections that have the key `key`.
fn sections_with(root: &Value, key: &str) -> Vec<String> {
    let definitions = root.get("$defs").and_then(Value::as_object);
    let all = definitions.into_iter().flat_map(|all| all.values()).chain([root]);
    let mut sections = Vec::new();
    for (name, section) in all.filter_map(|each| each.get("properties")?.as_object()).flatten() {
        let inside = resolve(root, section);
        if inside.get("properties").is_some_and(|properties| properties.get(key).is_some()) {
            sections.push(name.clone());
        }
    }
    sections.sort();
    sections.dedup();
    sections
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

fn empty_value(root: &Value, schema: &Value) -> Value {
    match resolve(root, schema).get("type").and_then(Value::as_str) {
        Some("object") => Value::Object(Default::default()),
        _ => Value::String(String::new()),
    }
}

fn allows_secret(schema: &Value) -> bool {
    schema.get("x-secret").is_some()
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
        Ok(Yaml::Text(text.to_owned()))
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
