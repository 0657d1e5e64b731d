//! The keys of a TOML table, read one by one. By hand: what `serde` derives for the same would be a
//! tenth of the whole program, which is to be small.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, path::PathBuf};

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// What is wrong, and where, if it isn't the table as a whole.
pub(crate) type Mistake = (Option<Range<usize>>, String);

/// Longest text of a value in a message, in characters.
const MAX_WORD: usize = 40;

/// A table that is read.
pub(crate) struct Fields<'a> {
    table: &'a DeTable<'a>,
}

impl<'a> Fields<'a> {
    /// Of this table, whatever else stands in it.
    pub fn new(table: &'a DeTable<'a>) -> Self {
        Self { table }
    }

    /// Of this table.
    ///
    /// # Errors
    ///
    /// When it has a key that is none of `known`.
    pub fn only(table: &'a DeTable<'a>, known: &[&str]) -> Result<Self, Mistake> {
        match table.keys().find(|key| !known.contains(&&**key.get_ref())) {
            None => Ok(Self { table }),
            Some(key) => Err((
                Some(key.span()),
                format!("unknown field `{}`, {}", cut(key.get_ref()), one_of(known)),
            )),
        }
    }

    /// Of this value, which is to be a table with no other keys than these.
    ///
    /// # Errors
    ///
    /// When it isn't.
    pub fn of(value: &'a Spanned<DeValue<'a>>, known: &[&str]) -> Result<Self, Mistake> {
        match value.get_ref() {
            DeValue::Table(table) => Self::only(table, known),
            other => Err((Some(value.span()), unexpected(other, "a table"))),
        }
    }

    /// The table under a key, where it has one.
    ///
    /// # Errors
    ///
    /// What `read` says.
    pub fn section<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Spanned<DeValue<'a>>) -> Result<T, Mistake>,
    ) -> Result<Option<T>, Mistake> {
        self.table.get(key).map(read).transpose()
    }

    /// The value of a key, where it has one.
    ///
    /// # Errors
    ///
    /// When it is of another kind, or makes no sense.
    pub fn optional<T: FromToml>(&self, key: &str) -> Result<Option<T>, Mistake> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        T::from_toml(value.get_ref()).map(Some).map_err(|message| (Some(value.span()), message))
    }

    /// The value of a key, or this one.
    ///
    /// # Errors
    ///
    /// As [`Fields::optional`].
    pub fn or<T: FromToml>(&self, key: &str, default: T) -> Result<T, Mistake> {
        Ok(self.optional(key)?.unwrap_or(default))
    }

    /// The value of a key, or the default of its type.
    ///
    /// # Errors
    ///
    /// As [`Fields::optional`].
    pub fn or_default<T: FromToml + Default>(&self, key: &str) -> Result<T, Mistake> {
        Ok(self.optional(key)?.unwrap_or_default())
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// As [`Fields::optional`], and where there is none.
    pub fn required<T: FromToml>(&self, key: &str) -> Result<T, Mistake> {
        self.optional(key)?.ok_or_else(|| (None, format!("missing field `{key}`")))
    }
}

/// A whole text as one table. It may hold fractions and dates, which are then their text.
///
/// # Errors
///
/// Where it is no TOML.
pub(crate) fn table(text: &str) -> Result<Table, toml::de::Error> {
    DeTable::parse(text).map(|root| plain_table(root.get_ref()))
}

fn plain_table(table: &DeTable<'_>) -> Table {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect()
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Integer(_) => Value::Integer(i64::from_toml(value).unwrap_or(i64::MAX)),
        DeValue::Float(number) => Value::String(number.as_str().to_owned()),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(plain_table(table)),
    }
}

/// What a value can be read as.
pub(crate) trait FromToml: Sized {
    /// It, or why not, in words.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;
}

impl FromToml for String {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| unexpected(value, "a string"))
    }
}

impl FromToml for PathBuf {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        String::from_toml(value).map(Self::from)
    }
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| unexpected(value, "a boolean"))
    }
}

impl FromToml for i64 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let DeValue::Integer(number) = value else { return Err(unexpected(value, "an integer")) };
        Self::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("`{}` is too large", cut(number.as_str())))
    }
}

/// Other numbers are narrower.
macro_rules! narrower {
    ($($number:ty),*) => {$(
        impl FromToml for $number {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                let number = i64::from_toml(value)?;
                number.try_into().map_err(|_| {
                    format!("`{number}`: use {} to {}", Self::MIN, i64::try_from(Self::MAX).unwrap_or(i64::MAX))
                })
            }
        }
    )*};
}

narrower!(i32, u32, u64);

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| unexpected(value, "a list"))?;
        list.iter().map(|item| T::from_toml(item.get_ref())).collect()
    }
}

impl<T: FromToml> FromToml for BTreeMap<String, T> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let table = value.as_table().ok_or_else(|| unexpected(value, "a table"))?;
        let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            Ok((key.get_ref().clone().into_owned(), T::from_toml(value.get_ref())?))
        };
        table.iter().map(entry).collect()
    }
}

/// One of a few words, with what each stands for.
///
/// # Errors
///
/// When it is none of them.
pub(crate) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let said = value.as_str().ok_or_else(|| unexpected(value, "a string"))?;
    words.iter().find(|(word, _)| *word == said).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("unknown word `{}`, {}", cut(said), one_of(&words))
    })
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    format!("expected one of {}", words.join(", "))
}

fn unexpected(value: &DeValue<'_>, wanted: &str) -> String {
    let found = match value {
        DeValue::String(text) => format!("the string {:?}", cut(text)),
        DeValue::Integer(number) => format!("the integer `{}`", cut(number.as_str())),
        DeValue::Float(number) => format!("the number `{}`", cut(number.as_str())),
        DeValue::Boolean(value) => format!("the boolean `{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("invalid type: {found}, expected {wanted}")
}

/// As much of a text as a message may hold.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MAX_WORD).collect()
}
