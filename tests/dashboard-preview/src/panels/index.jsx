// Every panel type: { plugin, Component, … }, see the README of the folder above for what is Grafana's and what is not.
//   values(data, context)  the reduced values that it shows; valueColor(value, data) their colour, where it is not their own
//   timeline(data, context) the rows of a state timeline, each with its periods of one value
//   load(data, context)    more that it needs than its queries
//   rowOrder(frame, data)  the order in which its rows are shown; fieldColor, cellColor, cellLinks: what the report says of cells
import { alertlist } from './alertlist.jsx';
import { bargauge, gauge, stat } from './single.jsx';
import { stateTimeline } from './state-timeline.jsx';
import { table } from './table.jsx';
import { text } from './text.jsx';
import { timeseries } from './timeseries.jsx';

export const panelTypes = { alertlist, bargauge, gauge, stat, 'state-timeline': stateTimeline, table, text, timeseries };
