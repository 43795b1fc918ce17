// Package config is the server's configuration: one struct whose comments are the
// manual, and the loader that fills it from flags, the environment, a YAML file and
// the defaults, in this order of precedence.
//
// Invariants:
//
//   - Each setting has one key, such as gc.interval. Its place in the file, its
//     environment variable (SEKISHO_GC_INTERVAL) and --set gc.interval=… follow
//     from the key, and every source reads its text by the same rules.
//   - What nobody would read is refused: unknown keys, values of the wrong form,
//     settings that contradict each other. All problems are reported at once, each
//     with its place and what to do.
//   - A secret can come from a file (its key with _file added), is never printed,
//     and is masked in everything that lists settings.
//
// It opens nothing and starts nothing, and it changes only by a restart.
package config
