// Package project keeps what a pipeline belongs to and what it uses: projects, the definitions of pipelines with their
// variables, variable groups, service connections, environments with their checks, and which pipeline may use what.
//
// Calls that take a caller are for people: each asks the [iam.Judge] before it touches or tells anything, and a refusal is
// the same whether the thing is there or not. Those without a caller are for runs and jobs: what a job gets is decided by
// the authorisations of its pipeline, and each use is recorded.
//
// Invariants:
//   - A change and its record are one transaction.
//   - Secret values are sealed and go in one direction: no call for people returns them. They are opened only for a job that is
//     handed out. Where a change could have a secret sent elsewhere than it was given for, the secret must be given again.
//   - A job from outside, see [Job.Untrusted], gets nothing but a token for its own source.
//   - A job acts as a session of its project's role, which nobody else may assume, see [Service.Credentials], and everything
//     it was given ends with it, see [Service.Ended].
//   - Names are unique in their project whatever their case. Ids are UUIDs that nothing else ever had.
//
// It does not know what is in a YAML file, runs nothing, and keeps no repositories of source: their ids are names to it.
package project
