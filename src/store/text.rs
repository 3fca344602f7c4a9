//! Texts that the database can hold: all but those with U+0000, which no text of Postgres has.

use std::borrow::Cow;

/// Whether the catalog may have this text; nothing of it has any other name.
pub(super) fn can_be(text: &str) -> bool {
    !text.contains('\0')
}

/// The same of a filter's texts.
pub(super) fn can_all_be(texts: &[&Option<String>]) -> bool {
    texts.iter().all(|text| text.as_deref().is_none_or(can_be))
}

/// A text of a caller as the catalog can hold it: for U+0000 stands U+FFFD.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match can_be(text) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace('\0', "\u{fffd}")),
    }
}
