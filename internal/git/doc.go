// Package git keeps git repositories and serves them to the stock client: clone and fetch, push, reading and committing for
// the server itself, mirrors of repositories elsewhere, upkeep.
//
// Objects are read and written by the git program, run with an environment and settings of its own: no configuration of the
// system or the user, no hooks, nothing of what a client says on a command line or in a configuration. A push is not handed to
// receive-pack. Its commands are read and judged here one by one, its objects go into a quarantine, are checked there (form,
// links, sizes), and become part of the repository only if a ref is updated; the report is written here. So each ref has its
// own reason for a refusal, and there are no hooks to call back.
//
// Invariants:
//   - A push that was acknowledged is durable, objects and refs, and [Options.OnPush] was called for it in a transaction that
//     was committed; only if the database fails in between it is called later. The database remembers each ref as it was
//     told last. What is on disk and not there yet, because a process died in between, is told at the next push, at the
//     start, or by the hourly look.
//   - Refs change under one lock (refs.lock), from the comparison of old values to the told event. Objects are removed
//     under another (gc.lock), which whoever relies on objects holds shared from the check of links to the update of refs.
//     Both are locks of files: they hold between nodes that share a file system.
//   - Every call passes the judge before anything is read or written, with a [*iam.Caller]. Unless it says so: calls without a
//     caller are for other parts of the server, which have judged by themselves.
//   - A program run for a client is bounded in time, output and memory, is one of a bounded number, and is killed with all
//     that it started when the client goes.
//
// It is no git implementation, knows no pull requests, no large file storage, no submodules, and no hashes other than SHA-1.
package git
