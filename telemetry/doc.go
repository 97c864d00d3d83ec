// Package telemetry turns what connections go through into OpenTelemetry's traces, metrics and logs.
//
// It observes lifecycle and is the only package that knows OpenTelemetry. It decides nothing about a
// connection and holds up none: whatever a collector does, an observer's call returns at once.
package telemetry

//go:generate go run ./internal/gen
