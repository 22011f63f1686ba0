//! Where values lie in the input, and how integers are read from it.
//!
//! Knows no types. Nothing here trusts a number from the wire: a read outside of the input answers `None`.

/// One value: where its bytes begin in the input, and how many there are. -1 for NULL, as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub start: u32,
    pub len: i32,
}

impl Span {
    pub const NULL: Self = Self { start: 0, len: -1 };

    pub fn is_null(self) -> bool {
        self.len < 0
    }

    /// Bytes of the value, 0 for NULL.
    pub fn size(self) -> usize {
        usize::try_from(self.len).unwrap_or_default()
    }

    /// None for NULL.
    pub fn of(self, input: &[u8]) -> Option<&[u8]> {
        if self.is_null() {
            return None;
        }
        let start = self.start as usize;
        input.get(start..start + self.size())
    }
}

/// What is wrong with the value at `index` of the spans that were decoded.
#[derive(Debug)]
pub(super) struct Fault {
    pub index: usize,
    pub what: String,
    pub hint: Hint,
}

/// What the user may do about it. Whoever knows the name of the column puts it into words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hint {
    Nothing,
    AsText,
    Nan,
    Infinity,
    Bytes,
}

/// Boxed, since it is the path that is never taken.
pub(super) type Step<T = ()> = Result<T, Box<Fault>>;

pub(super) fn fault<T>(index: usize, what: impl Into<String>, hint: Hint) -> Step<T> {
    let what = what.into();
    Err(Box::new(Fault { index, what, hint }))
}

/// The bytes at `at`, as many as asked for.
#[inline(always)]
pub(super) fn array<const N: usize>(input: &[u8], at: usize) -> Option<[u8; N]> {
    input.get(at..)?.first_chunk::<N>().copied()
}

/// Reads the parts of one value, one after the other.
pub(super) struct Parts<'a> {
    input: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Parts<'a> {
    /// `span` is not NULL.
    pub fn new(input: &'a [u8], span: Span) -> Self {
        let at = span.start as usize;
        let end = (at + span.size()).min(input.len());
        Self { input, at, end }
    }

    pub fn left(&self) -> usize {
        self.end - self.at
    }

    pub fn byte(&mut self) -> Option<u8> {
        let [byte] = self.take()?;
        Some(byte)
    }

    pub fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take()?))
    }

    pub fn oid(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take()?))
    }

    /// A length and as many bytes.
    #[inline]
    pub fn value(&mut self) -> Option<Span> {
        let len = self.int()?;
        // Positions fit: no input of more than 4 GiB is looked at.
        let start = u32::try_from(self.at).ok()?;
        let span = Span { start, len };
        if len < -1 || span.size() > self.left() {
            return None;
        }
        self.at += span.size();
        Some(span)
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.left() < N {
            return None;
        }
        let bytes = array(self.input, self.at)?;
        self.at += N;
        Some(bytes)
    }
}

impl Hint {
    /// For the column `name`.
    pub fn words(self, name: &str) -> Option<String> {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let quoted = match is_plain {
            true => name.to_owned(),
            false => format!("{name:?}"),
        };
        let as_text = format!("`types: {{ {quoted}: text }}`");
        match self {
            Self::Nothing => None,
            Self::AsText => Some(format!("read the column as text: {as_text}")),
            Self::Nan => Some(format!(
                "`nan: \"null\"` reads it as null, {as_text} as text"
            )),
            Self::Infinity => Some(format!(
                "`infinity: \"null\"` reads it as null, `infinity: saturate` as the type's extreme, {as_text} as text"
            )),
            Self::Bytes => Some(format!(
                "read its bytes with a `query` that selects `convert_to({quoted}, 'SQL_ASCII')`"
            )),
        }
    }
}
