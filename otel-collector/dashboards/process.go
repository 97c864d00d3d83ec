package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// process answers how the processes themselves are: states, event loops, memory, what is lost of their telemetry.
func process() *dashboard.DashboardBuilder {
	return newBoard("process", "How the processes are: their states, event loops, processor time, memory, descriptors, and what is lost of their telemetry.").
		WithRow(dashboard.NewRowBuilder("State")).
		WithPanel(states()).WithPanel(draining()).
		WithRow(dashboard.NewRowBuilder("Event loops")).
		WithPanel(loops()).WithPanel(busy()).
		WithPanel(turns()).WithPanel(batches()).
		WithRow(dashboard.NewRowBuilder("Resources")).
		WithPanel(processor()).WithPanel(memory()).
		WithPanel(descriptors()).WithPanel(certificates()).
		WithRow(dashboard.NewRowBuilder("Telemetry")).
		WithPanel(losses()).WithPanel(suppressed())
}

func draining() *timeseries.PanelBuilder {
	return graph(what{
		"Left to drain",
		"Connections that a draining process still has.",
		"runbooks/WsproxyDrainStuck.md",
		units.Short,
	}, over(`sum by (service_instance_id) (wsproxy_drain_remaining`+byProcess+`)`, "{{service_instance_id}}"))
}

func loops() *timeseries.PanelBuilder {
	return graph(what{
		"Connections by event loop",
		"New connections go to the loop with the fewest.",
		"operations.md#capacity",
		units.Short,
	}, over(`sum by (service_instance_id, wsproxy_worker_id) (wsproxy_worker_connections`+byProcess+`)`, "{{service_instance_id}} loop {{wsproxy_worker_id}}"))
}

func busy() *timeseries.PanelBuilder {
	return graph(what{
		"Busy share by event loop",
		"How much of the time a loop works rather than waits. A loop near 100 % makes its connections wait.",
		"operations.md#capacity",
		units.PercentUnit,
	}, over(`max by (service_instance_id, wsproxy_worker_id) (wsproxy_worker_busy_ratio`+byProcess+`)`, "{{service_instance_id}} loop {{wsproxy_worker_id}}")).Max(1)
}

func turns() *timeseries.PanelBuilder {
	return graph(what{
		"Longest turn by event loop",
		"The longest that a loop took for one round of its connections: what the last of them waited.",
		"operations.md#capacity",
		units.Seconds,
	}, over(`max by (service_instance_id, wsproxy_worker_id) (wsproxy_worker_turn_longest_seconds`+byProcess+`)`, "{{service_instance_id}} loop {{wsproxy_worker_id}}"))
}

func batches() *timeseries.PanelBuilder {
	return graph(what{
		"Events per wake-up",
		"How much a loop finds to do when it wakes: it rises with load, and makes each event cheaper.",
		"operations.md#capacity",
		units.Short,
	}, over(`sum by (service_instance_id, wsproxy_worker_id) (rate(wsproxy_worker_events_total`+byProcess+`[$__rate_interval])) / `+
		`sum by (service_instance_id, wsproxy_worker_id) (rate(wsproxy_worker_wakeups_total`+byProcess+`[$__rate_interval]) > 0)`,
		"{{service_instance_id}} loop {{wsproxy_worker_id}}")).NoValue("asleep")
}

func processor() *timeseries.PanelBuilder {
	return stacked(graph(what{
		"Processor time",
		"Seconds of processor time in a second: 1 is one whole core. Most of a proxy's is the system's.",
		"operations.md#capacity",
		units.Short,
	}, over(`sum by (cpu_mode) (rate(process_cpu_time_seconds_total`+byProcess+`[$__rate_interval]))`, "{{cpu_mode}}")))
}

func memory() *timeseries.PanelBuilder {
	return graph(what{
		"Resident memory",
		"Of each process. The kernel's socket buffers are not in it.",
		"operations.md#capacity",
		units.BytesIEC,
	}, over(`sum by (service_instance_id) (process_memory_usage_bytes`+byProcess+`)`, "{{service_instance_id}}"))
}

func descriptors() *timeseries.PanelBuilder {
	return graph(what{
		"File descriptors",
		"Open descriptors of each process: two for each open connection, and some.",
		"runbooks/WsproxyDescriptorsNear.md",
		units.Short,
	}, over(`sum by (service_instance_id) (process_unix_file_descriptor_count`+byProcess+`)`, "{{service_instance_id}}"))
}

func certificates() *timeseries.PanelBuilder {
	return graph(what{
		"Certificates: time left",
		"Until each certificate ends.",
		"runbooks/WsproxyCertificateExpiring.md",
		units.Seconds,
	}, over(`min by (wsproxy_tls_certificate_name) (wsproxy_tls_certificate_not_after_seconds`+byProcess+`) - time()`, "{{wsproxy_tls_certificate_name}}")).
		NoValue("no certificates")
}

func suppressed() *timeseries.PanelBuilder {
	return graph(what{
		"Log lines left out",
		"Lines that repeat are left out and counted.",
		"configuration.md#log",
		units.CountsPerSecond,
	}, over(`sum by (service_instance_id) (rate(wsproxy_log_suppressed_total`+byProcess+`[$__rate_interval]))`, "{{service_instance_id}}"))
}
