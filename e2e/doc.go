// Package e2e runs the scripts in testdata: stock clients, unchanged, against a sekisho process.
//
// Every script has a server, a data folder, a home, container storage and credentials of its own. Nothing listens on a
// fixed port and nothing leaves the loopback interface: the images are made here.
//
// A client that is not installed skips its script and says so; with SEKISHO_REQUIRE_TOOLS set it fails it, but for
// terraform, which no package has. Clients are looked for in SEKISHO_TEST_TOOLS (default .cache/tools in the repository, filled by .ci/install), then in PATH.
// SEKISHO_E2E_BINARY names a binary to test instead of one built from the tree.
//
// This is not where the wire protocol is tested: registrytest and ociserver do that, without the clients' tolerance.
package e2e
