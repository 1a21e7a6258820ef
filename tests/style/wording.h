// Rules about names, heads and words. Taste stays with the reader; these are what a machine can
// judge.
#pragma once

#include "tests/style/tree.h"

namespace rt::style {

// No file or folder is called after nothing in particular.
Findings check_file_name(const SourceFile& file);

// A header begins with what it is and is read once; a source that is not the body of a header
// begins with what it is.
Findings check_head(const SourceFile& file);

// Units come last, spelled as everywhere else: `arena_bytes`, never `bytes_arena`, `num_layers`.
Findings check_units(const SourceFile& file);

// No notes to oneself, no path of the machine it was written on, no package registry.
Findings check_words(const SourceFile& file);

}  // namespace rt::style
