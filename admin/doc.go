// Package admin shows a running wsproxy to its operators over HTTP: health, the live connections, the
// state of the process, metrics and profiles, all as JSON or as the tool that reads it expects.
//
// It observes and changes nothing, and has no page for people yet.
package admin
