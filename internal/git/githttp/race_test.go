//go:build race

package githttp_test

const raceDetector = true
