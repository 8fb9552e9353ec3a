//! `${name}` in a spec: where values come from, where they may go, and how secret ones are kept out of messages.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use super::redact::Redactor;
use crate::{
    api::Reason,
    artifact::{JarUri, UriError},
    sensitive::Sensitive,
};

/// The longest value of one field after expansion, in bytes.
pub const MAX_FIELD_BYTES: usize = 32 << 10;

/// The longest expanded program, in bytes.
pub const MAX_PROGRAM_BYTES: usize = 256 << 10;

/// The longest name of a variable.
const MAX_NAME_BYTES: usize = 63;

/// The values that a job's spec may use.
///
/// `spec.variables` win over sources, and later sources over earlier ones, whatever the kind: a ConfigMap that
/// overrides a Secret makes the value a plain one.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    own: BTreeMap<String, String>,
    sources: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
enum Value {
    Plain(String),
    Secret(Sensitive),
    /// Bytes that are no UTF-8.
    Binary,
}

impl Variables {
    /// No variables but `spec.variables`.
    pub fn new(own: &BTreeMap<String, String>) -> Result<Self, ExpansionError> {
        match own.keys().find(|name| !is_name(name)) {
            Some(name) => Err(ExpansionError::InvalidName {
                name: name.chars().take(MAX_NAME_BYTES).collect(),
            }),
            None => Ok(Self {
                own: own.clone(),
                sources: BTreeMap::new(),
            }),
        }
    }

    /// Adds the keys of a ConfigMap. Keys that are no names of variables cannot be meant and are left out.
    pub fn add_config_map<'a>(&mut self, data: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.add(data.into_iter().map(|(name, text)| (name, Value::Plain(text.clone()))));
    }

    /// Adds the keys of a Secret. Their values go only where [`expand`] allows it.
    pub fn add_secret<'a>(&mut self, data: impl IntoIterator<Item = (&'a String, &'a [u8])>) {
        self.add(data.into_iter().map(|(name, bytes)| {
            let text = std::str::from_utf8(bytes);
            (
                name,
                text.map_or(Value::Binary, |text| Value::Secret(Sensitive::new(text))),
            )
        }));
    }

    fn add<'a>(&mut self, values: impl Iterator<Item = (&'a String, Value)>) {
        self.sources.extend(
            values
                .filter(|(name, _)| is_name(name))
                .map(|(name, value)| (name.clone(), value)),
        );
    }
}

/// `[A-Za-z_][A-Za-z0-9_.-]{0,62}`
fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// The fields of a spec that variables are expanded in.
#[derive(Debug, Clone, Copy)]
pub struct Template<'a> {
    /// `spec.jobName`.
    pub job_name: Option<&'a str>,
    /// `spec.job.jarURI`.
    pub jar_uri: Option<&'a str>,
    /// `spec.job.args`.
    pub args: &'a [String],
    /// `spec.flinkConfiguration`; keys stay as they are.
    pub flink_configuration: &'a BTreeMap<String, String>,
}

/// The fields with their variables expanded. Never printed as a whole: arguments and configuration may hold secrets.
#[derive(Clone)]
pub struct Expanded {
    /// The job's name, if the spec gives one.
    pub job_name: Option<String>,
    /// Where the jar is, if the spec names one.
    pub jar_uri: Option<JarUri>,
    /// The arguments of `main()`.
    pub args: Vec<String>,
    /// The job's Flink configuration.
    pub flink_configuration: BTreeMap<String, String>,
    /// Takes the secrets that were used out of what Flink answers.
    pub redactor: Redactor,
}

impl fmt::Debug for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expanded")
            .field("job_name", &self.job_name)
            .field("jar_uri", &self.jar_uri)
            .finish_non_exhaustive()
    }
}

/// Why a spec cannot be expanded. Messages name fields and variables, never the value of a secret one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionError {
    /// Nothing has this name.
    #[error(
        "{field} uses ${{{name}}}, which is defined neither in spec.variables nor in spec.variablesFrom; define it, or write $${{ for a literal ${{"
    )]
    Undefined {
        /// The field.
        field: String,
        /// The variable.
        name: String,
    },
    /// A secret where it would become visible.
    #[error(
        "{field} uses ${{{name}}}, whose value comes from a Secret; such values are allowed only in spec.job.args and in values of spec.flinkConfiguration"
    )]
    SecretNotAllowed {
        /// The field.
        field: String,
        /// The variable.
        name: String,
    },
    /// `${` that is not followed by a name and `}`.
    #[error(
        "{field} contains ${{ at byte {at} without a variable's name and a closing brace; write $${{ for a literal ${{"
    )]
    Malformed {
        /// The field.
        field: String,
        /// Where, counted from 0.
        at: usize,
    },
    /// A variable with a name that cannot be written in `${…}`.
    #[error(
        "spec.variables has the name {name:?}; a name has at most {MAX_NAME_BYTES} letters, digits, _, . and -, and begins with a letter or _"
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Bytes where a text is needed.
    #[error("{field} uses ${{{name}}}, whose value in the Secret is not UTF-8; store it as text")]
    NotText {
        /// The field.
        field: String,
        /// The variable.
        name: String,
    },
    /// More than a request to Flink should carry.
    #[error(
        "{field} has more than {limit} bytes after its variables are expanded; put large values into a file that the job reads"
    )]
    TooLong {
        /// The field.
        field: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a name for a job.
    #[error("spec.jobName is {name:?} after its variables are expanded; use 1 to 57 of A-Z, a-z, 0-9, _ and -")]
    JobName {
        /// The expanded name, cut.
        name: String,
    },
    /// Not a place for a jar.
    #[error("spec.job.{0}")]
    JarUri(#[from] UriError),
}

impl ExpansionError {
    /// The word for conditions, Events and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Undefined { .. } => Reason::UndefinedVariable,
            Self::SecretNotAllowed { .. }
            | Self::Malformed { .. }
            | Self::InvalidName { .. }
            | Self::NotText { .. }
            | Self::TooLong { .. }
            | Self::JobName { .. }
            | Self::JarUri(_) => Reason::InvalidSpec,
        }
    }
}

/// Expands `${name}` in the fields of a template and checks the name of the job and the jar's place again.
///
/// Values are inserted as they are: `${…}` in a value is not expanded. `$${` stands for `${`; any other `$` is itself.
pub fn expand(template: &Template<'_>, variables: &Variables) -> Result<Expanded, ExpansionError> {
    let mut expander = Expander {
        variables,
        used: Vec::new(),
        bytes: 0,
    };
    let name = |text| expander.visible("spec.jobName", text);
    let job_name = template.job_name.map(name).transpose()?;
    if let Some(name) = &job_name
        && !is_job_name(name)
    {
        return Err(ExpansionError::JobName {
            name: name.chars().take(64).collect(),
        });
    }
    let uri = |text| expander.visible("spec.job.jarURI", text);
    let jar_uri = template.jar_uri.map(uri).transpose()?;
    let jar_uri = jar_uri.map(|text| JarUri::parse(&text)).transpose()?;
    let args = template.args.iter().enumerate();
    let args = args.map(|(at, text)| expander.hidden(|| format!("spec.job.args[{at}]"), text));
    let args = args.collect::<Result<_, _>>()?;
    let entries = template.flink_configuration.iter().map(|(key, text)| {
        let field = || format!("spec.flinkConfiguration[{}]", key.chars().take(128).collect::<String>());
        Ok((key.clone(), expander.hidden(field, text)?))
    });
    let flink_configuration = entries.collect::<Result<_, ExpansionError>>()?;
    let redactor = Redactor::new(expander.used);
    Ok(Expanded {
        job_name,
        jar_uri,
        args,
        flink_configuration,
        redactor,
    })
}

/// What Flink shows as a job's name and Kubernetes may use in the names of objects: `[A-Za-z0-9_-]{1,57}`.
fn is_job_name(text: &str) -> bool {
    (1..=57).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

struct Expander<'v> {
    variables: &'v Variables,
    used: Vec<&'v Sensitive>,
    bytes: usize,
}

impl<'v> Expander<'v> {
    /// Expands a field that people see.
    fn visible(&mut self, field: &str, text: &str) -> Result<String, ExpansionError> {
        self.field(|| field.to_owned(), text, false)
    }

    /// Expands a field that goes to Flink only.
    fn hidden(&mut self, field: impl Fn() -> String, text: &str) -> Result<String, ExpansionError> {
        self.field(field, text, true)
    }

    fn field(&mut self, field: impl Fn() -> String, text: &str, secrets: bool) -> Result<String, ExpansionError> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            expanded.push_str(before);
            rest = if let Some(after) = from.strip_prefix("$${") {
                expanded.push_str("${");
                after
            } else if let Some(after) = from.strip_prefix("${") {
                let at = text.len() - from.len();
                let (name, after) = after
                    .split_once('}')
                    .filter(|(name, _)| is_name(name))
                    .ok_or_else(|| ExpansionError::Malformed { field: field(), at })?;
                expanded.push_str(self.value(&field, name, secrets)?);
                after
            } else {
                expanded.push('$');
                from.get(1..).unwrap_or_default()
            };
            Self::within(MAX_FIELD_BYTES, expanded.len(), &field)?;
        }
        expanded.push_str(rest);
        Self::within(MAX_FIELD_BYTES, expanded.len(), &field)?;
        self.bytes += expanded.len();
        Self::within(MAX_PROGRAM_BYTES, self.bytes, || "the spec".to_owned())?;
        Ok(expanded)
    }

    fn within(limit: usize, bytes: usize, field: impl Fn() -> String) -> Result<(), ExpansionError> {
        if bytes > limit {
            Err(ExpansionError::TooLong { field: field(), limit })
        } else {
            Ok(())
        }
    }

    fn value(&mut self, field: &impl Fn() -> String, name: &str, secrets: bool) -> Result<&'v str, ExpansionError> {
        if let Some(text) = self.variables.own.get(name) {
            return Ok(text);
        }
        let (field, name) = (|| field(), || name.to_owned());
        match self.variables.sources.get(&name()) {
            Some(Value::Plain(text)) => Ok(text),
            Some(Value::Secret(_) | Value::Binary) if !secrets => Err(ExpansionError::SecretNotAllowed {
                field: field(),
                name: name(),
            }),
            Some(Value::Secret(secret)) => {
                if !self.used.contains(&secret) {
                    self.used.push(secret);
                }
                Ok(secret.expose())
            }
            Some(Value::Binary) => Err(ExpansionError::NotText {
                field: field(),
                name: name(),
            }),
            None => Err(ExpansionError::Undefined {
                field: field(),
                name: name(),
            }),
        }
    }
}

/// Writes a text so that [`expand`] gives it back: each `${` becomes `$${`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, part) in text.split("${").enumerate() {
        if at > 0 {
            escaped.push_str("$${");
        }
        let _ = escaped.write_str(part);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn variables(own: &[(&str, &str)], plain: &[(&str, &str)], secret: &[(&str, &str)]) -> Variables {
        let mut variables = Variables::new(&map(own)).unwrap();
        variables.add_config_map(&map(plain));
        variables.add_secret(map(secret).iter().map(|(name, text)| (name, text.as_bytes())));
        variables
    }

    fn arg(text: &str, variables: &Variables) -> Result<String, ExpansionError> {
        let args = [text.to_owned()];
        let template = Template {
            job_name: None,
            jar_uri: None,
            args: &args,
            flink_configuration: &BTreeMap::new(),
        };
        Ok(expand(&template, variables)?.args.concat())
    }

    fn visible(
        job_name: Option<&str>,
        jar_uri: Option<&str>,
        variables: &Variables,
    ) -> Result<Expanded, ExpansionError> {
        expand(
            &Template {
                job_name,
                jar_uri,
                args: &[],
                flink_configuration: &BTreeMap::new(),
            },
            variables,
        )
    }

    #[test]
    fn every_field_is_expanded() {
        let variables = variables(&[("day", "2026-11-21")], &[("team", "orders")], &[("pw", "hunter2")]);
        let template = Template {
            job_name: Some("${team}-${day}"),
            jar_uri: Some("https://repo.example/${team}/x-${day}.jar"),
            args: &["--pw=${pw}".to_owned(), "${day}${day}".to_owned()],
            flink_configuration: &map(&[("a.${day}", "x ${pw}")]),
        };
        let expanded = expand(&template, &variables).unwrap();
        assert_eq!(expanded.job_name.as_deref(), Some("orders-2026-11-21"));
        assert_eq!(
            expanded.jar_uri.as_ref().unwrap().to_string(),
            "https://repo.example/orders/x-2026-11-21.jar"
        );
        assert_eq!(expanded.args, ["--pw=hunter2", "2026-11-212026-11-21"]);
        assert_eq!(expanded.flink_configuration, map(&[("a.${day}", "x hunter2")]));
        assert_eq!(
            expanded.redactor.redact("java.lang.Error: hunter2!"),
            "java.lang.Error: ***!"
        );
        assert!(!format!("{expanded:?} {variables:?}").contains("hunter2"));
    }

    #[test]
    fn dollars_are_literal_unless_they_open_a_variable() {
        let variables = variables(&[("a", "${b}"), ("b", "B")], &[], &[]);
        for (text, expected) in [
            ("", ""),
            ("$", "$"),
            ("$a $$ $$b {a}", "$a $$ $$b {a}"),
            ("$${a}", "${a}"),
            ("$$${a}", "$${a}"),
            ("$${${b}}", "${B}"),
            ("${a}", "${b}"),
            ("é${b}é", "éBé"),
        ] {
            assert_eq!(arg(text, &variables).as_deref(), Ok(expected), "{text}");
        }
        for (text, at) in [
            ("${", 0),
            ("x${", 1),
            ("é${a", 2),
            ("${}", 0),
            ("${a b}", 0),
            ("${1a}", 0),
            ("${a${b}}", 0),
            ("${é}", 0),
        ] {
            let error = arg(text, &variables).unwrap_err();
            assert_eq!(
                error,
                ExpansionError::Malformed {
                    field: "spec.job.args[0]".into(),
                    at
                },
                "{text}"
            );
        }
        let long = format!("${{{}}}", "a".repeat(64));
        assert!(matches!(arg(&long, &variables), Err(ExpansionError::Malformed { .. })));
    }

    #[test]
    fn an_unknown_name_is_named_with_its_field() {
        let variables = variables(&[], &[], &[]);
        let error = visible(None, Some("https://h.example/${day}.jar"), &variables).unwrap_err();
        assert_eq!(error.reason(), Reason::UndefinedVariable);
        let message = error.to_string();
        assert!(
            message.starts_with("spec.job.jarURI uses ${day}, which") && message.contains("write $${ for"),
            "{message}"
        );
        let configuration = map(&[("k", "${x.y-z_1}")]);
        let template = Template {
            job_name: None,
            jar_uri: None,
            args: &[],
            flink_configuration: &configuration,
        };
        let error = expand(&template, &variables).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("spec.flinkConfiguration[k] uses ${x.y-z_1}"),
            "{error}"
        );
    }

    #[test]
    fn own_values_win_over_later_sources_and_those_over_earlier_ones() {
        let mut variables = variables(
            &[("a", "own")],
            &[("a", "1"), ("b", "1"), ("c", "1")],
            &[("a", "2"), ("b", "2")],
        );
        variables.add_config_map(&map(&[("b", "3"), ("9bad", "x"), ("UPPER.case-1", "ok")]));
        assert_eq!(arg("${a}${b}${c}${UPPER.case-1}", &variables).as_deref(), Ok("own31ok"));
        assert_eq!(
            visible(Some("x${b}"), None, &variables).unwrap().job_name.as_deref(),
            Some("x3")
        );
        assert!(matches!(
            Variables::new(&map(&[("9bad", "x")])),
            Err(ExpansionError::InvalidName { .. })
        ));
    }

    #[test]
    fn secrets_stay_out_of_names_and_addresses() {
        let mut variables = variables(&[], &[], &[("token", "s3cr3t")]);
        for error in [
            visible(Some("x-${token}"), None, &variables).unwrap_err(),
            visible(None, Some("https://h.example/x?t=${token}"), &variables).unwrap_err(),
        ] {
            assert_eq!(error.reason(), Reason::InvalidSpec);
            let message = format!("{error} {error:?}");
            assert!(message.contains("${token}") && !message.contains("s3cr3t"), "{message}");
        }
        let name = "blob".to_owned();
        variables.add_secret([(&name, &[0xff, 0xfe][..])]);
        assert!(matches!(
            arg("${blob}", &variables),
            Err(ExpansionError::NotText { .. })
        ));
    }

    #[test]
    fn name_and_address_are_checked_after_expansion() {
        let variables = variables(
            &[
                ("dots", "../.."),
                ("space", "a b"),
                ("long", &"x".repeat(58)),
                ("file", "file:///etc/x"),
            ],
            &[],
            &[],
        );
        for name in ["${space}", "${long}", "a${dots}"] {
            let error = visible(Some(name), None, &variables).unwrap_err();
            assert!(matches!(error, ExpansionError::JobName { .. }), "{name}");
            assert_eq!(error.reason(), Reason::InvalidSpec);
        }
        for (uri, expected) in [
            ("https://h.example/${dots}/x.jar", UriError::DotSegment),
            ("https://h.example/${space}", UriError::Character(' ')),
            ("${file}", UriError::LocalFile("file".into())),
        ] {
            assert_eq!(
                visible(None, Some(uri), &variables).unwrap_err(),
                ExpansionError::JarUri(expected),
                "{uri}"
            );
        }
        let message = visible(None, Some("ftp://h/x"), &variables).unwrap_err().to_string();
        assert!(message.starts_with("spec.job.jarURI has the scheme ftp:"), "{message}");
    }

    #[test]
    fn the_result_is_bounded() {
        let big = "x".repeat(4096);
        let variables = variables(&[("big", &big)], &[], &[]);
        let error = arg(&"${big}".repeat(9), &variables).unwrap_err();
        assert_eq!(
            error,
            ExpansionError::TooLong {
                field: "spec.job.args[0]".into(),
                limit: MAX_FIELD_BYTES
            }
        );
        let args = vec!["${big}".repeat(8); 9];
        let template = Template {
            job_name: None,
            jar_uri: None,
            args: &args,
            flink_configuration: &BTreeMap::new(),
        };
        assert!(matches!(
            expand(&template, &variables),
            Err(ExpansionError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn expansion_is_total_and_never_shows_a_secret(
            texts in collection::vec("([a-z$}{. ]|\\$\\{pw\\}|\\$\\{a\\}){0,12}", 0..4),
            secret in "[A-Z0-9]{6,20}",
        ) {
            let variables = variables(&[("a", "plain")], &[], &[("pw", &secret)]);
            let configuration = texts.iter().cloned().enumerate().map(|(at, text)| (at.to_string(), text)).collect();
            let field = texts.first().map(String::as_str);
            let template = Template { job_name: field, jar_uri: field, args: &texts, flink_configuration: &configuration };
            let shown = format!("{:?}", expand(&template, &variables));
            prop_assert!(!shown.contains(&secret));
            let hidden = Template { job_name: None, jar_uri: None, ..template };
            if let Ok(expanded) = expand(&hidden, &variables) {
                let message = expanded.redactor.redact(&expanded.args.join(" "));
                prop_assert!(!message.contains(&secret), "{}", message);
            }
        }

        #[test]
        fn an_escaped_text_comes_back(text in "([a-z]|\\$|\\{|\\}|\\PC){0,40}") {
            let none = Variables::default();
            let expanded = arg(&escape(&text), &none);
            prop_assert_eq!(expanded.as_deref(), Ok(text.as_str()));
        }
    }
}
