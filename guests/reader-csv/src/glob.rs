//! Patterns of file names. Knows no host: the grant, which has the same rules, decides what may be read.
//!
//! `*` stands for any text inside a name, `**` as a whole name for any number of folders.

/// Whether `path` names several files.
pub fn is_pattern(path: &str) -> bool {
    path.contains('*')
}

/// The folder that holds all that `pattern` can match: what comes before the first name with a `*`.
pub fn folder(pattern: &str) -> &str {
    let star = pattern.find('*').unwrap_or(pattern.len());
    let end = pattern[..star].rfind('/').map_or(0, |slash| slash + 1);
    if end == 0 { "./" } else { &pattern[..end] }
}

/// Whether `path`, as a listing of [`folder`] names it, is one of the files.
pub fn matches(pattern: &str, path: &str) -> bool {
    fn names(text: &str) -> Vec<&str> {
        text.strip_prefix("./").unwrap_or(text).split('/').collect()
    }
    let (pattern, path) = (names(pattern), names(path));
    covers(
        &pattern,
        &path,
        |pattern| *pattern == "**",
        |pattern, name| {
            let (pattern, name): (Vec<char>, Vec<char>) =
                (pattern.chars().collect(), name.chars().collect());
            covers(&pattern, &name, |c| *c == '*', |c, other| c == other)
        },
    )
}

/// Whether `items` fit `pattern`, in which an item that is `any` stands for any number of them. Time is the
/// product of the lengths: only the last `any` ever has to take more.
fn covers<T>(
    pattern: &[T],
    items: &[T],
    any: impl Fn(&T) -> bool,
    fits: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while item < items.len() {
        match pattern.get(at) {
            Some(wanted) if any(wanted) => {
                last_any = Some((at, item));
                at += 1;
            }
            Some(wanted) if fits(wanted, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => match &mut last_any {
                Some((any_at, taken)) => {
                    *taken += 1;
                    (at, item) = (*any_at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_inside_a_name_and_double_stars_do_not() {
        let check = |pattern, path, expected| {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        };
        check("data/*.csv", "data/a.tsv", false);
        check("data/*.csv", "data/in/a.csv", false);
        check("data/*.csv", "data/a.csv", true);
        check("data/*.csv", "data/.csv", true);
        check("data/a-*-b*.csv", "data/a-1-b2.csv", true);
        check("data/a-*-b*.csv", "data/a-b.csv", false);
        check("data/**/*.csv", "data/a.csv", true);
        check("data/**/*.csv", "data/1/2/a.csv", true);
        check("data/**/x/*.csv", "data/1/2/a.csv", false);
        check("data/**", "data/1/2/a.csv", true);
        check("*.csv", "./a.csv", true);
        check("./*.csv", "./a.csv", true);
        check("file:///data/*.csv", "file:///data/a%20b.csv", true);
        check(
            "d*/**/*a*a*a*a*b",
            &("d/".repeat(200) + &"a".repeat(200)),
            false,
        );
    }

    #[test]
    fn the_folder_of_a_pattern_has_no_star() {
        for (pattern, expected) in [
            ("data/*.csv", "data/"),
            ("data/2024-*/x/*.csv", "data/"),
            ("/data/**/*.csv", "/data/"),
            ("*.csv", "./"),
            ("**", "./"),
            ("file:///data/in/*", "file:///data/in/"),
        ] {
            assert_eq!(folder(pattern), expected, "{pattern}");
        }
    }
}
