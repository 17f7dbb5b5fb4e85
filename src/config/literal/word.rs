//! Closed sets of words.

/// Declares an enum whose variants are words of the configuration, with reading, printing and schema.
///
/// Words after `later` are known and refused: they belong to a later version.
macro_rules! words {
    (
        $(#[$outer:meta])*
        pub enum $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }
        default $default:ident;
        $(later $($later:literal),+;)?
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
        pub enum $name { $($(#[$inner])* #[serde(rename = $word)] $variant,)+ }

        impl Default for $name {
            fn default() -> Self {
                $name::$default
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($name::$variant => $word,)+ })
            }
        }

        impl crate::literal::Literal for $name {
            const EXPECTED: &'static str = crate::literal::words!(@join $($word),+);

            fn read(text: &str) -> Result<Self, crate::literal::Misread> {
                match text {
                    $($word => Ok($name::$variant),)+
                    $($($later => Err(crate::literal::Misread::Later),)+)?
                    _ => Err(crate::literal::Misread::Word(&[$($word),+])),
                }
            }
        }
    };
    (@join $first:literal $(, $rest:literal)*) => { concat!("one of \"", $first, "\"" $(, ", \"", $rest, "\"")*) };
}
pub(crate) use words;
