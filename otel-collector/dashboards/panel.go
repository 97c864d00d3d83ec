package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The grid is 24 wide.
const (
	graphWidth, graphHeight = 12, 8
	statWidth, statHeight   = 4, 5
)

// what is a panel's text: what it shows, how to read it, and the page under docs that says what to do.
type what struct {
	title, description, page, unit string
}

// text is the description with the page. Nobody knows where a user reads the pages, so it is a path in the repository.
func (w what) text() string { return w.description + "\n\nWhat to do: docs/" + w.page }

// What the queries leave to the variables. Of the metrics without a route, only the process can be chosen.
const (
	byRoute   = `{service_instance_id=~"$instance", wsproxy_route_name=~"$route"}`
	byProcess = `{service_instance_id=~"$instance"}`
)

// newBoard is an empty dashboard with what all of them have.
func newBoard(name, description string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("wsproxy "+name).
		Uid("wsproxy-"+name).
		Description(description).
		Tags([]string{"wsproxy"}).
		Timezone("browser").Time("now-1h", "now").Refresh("30s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("wsproxy").
			Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"wsproxy"}).AsDropdown(true).KeepTime(true).IncludeVars(true)).
		WithVariable(choice("instance", "Process", "service.instance.id: which processes are looked at.",
			`label_values(wsproxy_system_status, service_instance_id)`)).
		WithVariable(choice("route", "Route", "Which routes are looked at; _OTHER is what matched none.",
			`label_values(wsproxy_connection_accepted_total{service_instance_id=~"$instance"}, wsproxy_route_name)`))
}

// metrics is the data source of every panel: the uid is the one that is provisioned.
func metrics() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new("prometheus")}
}

// over is a query for a graph. Its legend names each series by labels.
func over(query, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(metrics()).Expr(query).LegendFormat(legend).Range()
}

// now is a query for one value, at the end of the dashboard's time range.
func now(query, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Datasource(metrics()).Expr(query).LegendFormat(legend).Instant()
}

func graph(w what, queries ...*prometheus.DataqueryBuilder) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().
		Title(w.title).Description(w.text()).Unit(w.unit).
		Datasource(metrics()).Span(graphWidth).Height(graphHeight).
		Min(0).LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		p.WithTarget(q.RefId(reference(i)))
	}
	return p
}

// p95 is a histogram's 95th percentile, for each value of the labels. where is a selector's braces.
func p95(histogram, where, labels string) string {
	return fmt.Sprintf("histogram_quantile(0.95, sum by (%s) (rate(%s_bucket%s[$__rate_interval])))", strings.TrimSuffix("le, "+labels, ", "), histogram, where)
}

// heat shows a histogram's whole distribution over time.
func heat(w what, histogram, where string) *heatmap.PanelBuilder {
	query := over(`sum by (le) (increase(`+histogram+`_bucket`+where+`[$__rate_interval]))`, "{{le}}").
		Format(prometheus.PromQueryFormatHeatmap).Exemplar(true)
	return heatmap.NewPanelBuilder().
		Title(w.title).Description(w.text()).Unit(w.unit).
		Datasource(metrics()).Span(graphWidth).Height(graphHeight).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(w.unit)).
		WithTarget(query.RefId(reference(0)))
}

// stacked lays a graph's series on one another, where their sum means something.
func stacked(p *timeseries.PanelBuilder) *timeseries.PanelBuilder {
	return p.FillOpacity(40).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
}

// number is a value with its past behind it.
func number(w what, query *prometheus.DataqueryBuilder) *stat.PanelBuilder {
	return stat.NewPanelBuilder().
		Title(w.title).Description(w.text()).Unit(w.unit).
		Datasource(metrics()).Span(statWidth).Height(statHeight).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeArea).Orientation(common.VizOrientationAuto).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		WithTarget(query.RefId(reference(0)))
}

// level is a colour from a value on.
type level struct {
	from  float64
	color string
}

// levels colours values, the first colour being that of everything below the second's.
func levels(below string, above ...level) *dashboard.ThresholdsConfigBuilder {
	steps := []dashboard.Threshold{{Color: below}}
	for _, l := range above {
		steps = append(steps, dashboard.Threshold{Value: new(l.from), Color: l.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func reference(i int) string { return string(rune('A' + i)) }

// choice is a variable: any of a label's values, at first all of them.
func choice(name, label, description, values string) cog.Builder[dashboard.VariableModel] {
	all := dashboard.VariableOption{
		Selected: new(true),
		Text:     dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
		Value:    dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
	}
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).Description(description).Datasource(metrics()).
		Query(dashboard.StringOrMap{String: new(values)}).Definition(values).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").Current(all)
}
