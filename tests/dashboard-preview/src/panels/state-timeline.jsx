// An approximation: Grafana's state timeline is not in its published packages. Values, colours, gaps and legend are made with
// the packages' code, the drawing is ours.
import { FieldType, applyNullInsertThreshold, dateTimeFormat, formattedValueToString, getFieldDisplayName } from '@grafana/data';
import { Pagination, VizLayout, VizLegend, measureText } from '@grafana/ui';
import { panelPlugin } from '../grafana.js';
import { NoData } from './no-data.jsx';

const FONT = 12;
const AXIS_HEIGHT = 24;
const PAGE_HEIGHT = 32;
const MINUTE = 60_000;
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 20160, 43200].map((minutes) => minutes * MINUTE);

export const stateTimeline = {
  plugin: panelPlugin({
    options: {
      mergeValues: true, showValue: 'auto', alignValue: 'left', rowHeight: 0.9, perPage: 20,
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true }, tooltip: { mode: 'single', sort: 'none' },
    },
    color: 'continuous-GrYlRd',
    custom: { lineWidth: 0, fillOpacity: 70, spanNulls: false, insertNulls: false, axisPlacement: 'auto', hideFrom: { legend: false, tooltip: false, viz: false } },
  }),
  timeline: (data, { range }) => timelineRows(data, range),
  cellColor: (field, shown, value) => (value === null || value === undefined ? undefined : shown.color),
  Component({ data, width, height, context }) {
    const rows = timelineRows(data, context.range);
    if (!rows.length) return <NoData data={data} />;
    const { options } = data;
    const pages = Math.ceil(rows.length / options.perPage);
    const legend = options.legend.showLegend ? legendItems(rows) : [];
    return (
      <>
        <VizLayout
          width={width} height={pages > 1 ? height - PAGE_HEIGHT : height}
          legend={legend.length > 0 && (
            <VizLayout.Legend placement={options.legend.placement}>
              <VizLegend items={legend} displayMode={options.legend.displayMode} placement={options.legend.placement} />
            </VizLayout.Legend>
          )}
        >
          {(w, h) => <Timeline rows={rows.slice(0, options.perPage)} options={options} width={w} height={h} context={context} />}
        </VizLayout>
        {pages > 1 && <div style={{ height: PAGE_HEIGHT, paddingTop: 4, textAlign: 'center' }}><Pagination currentPage={1} numberOfPages={pages} onNavigate={() => {}} /></div>}
      </>
    );
  },
};

/** A row per field that is not a time: its periods of one value, with gaps where points are missing. */
function timelineRows({ series, options }, { from, to }) {
  return series.filter((frame) => frame.length).flatMap((frame) => {
    const filled = applyNullInsertThreshold({ frame, refFieldPseudoMin: from.valueOf(), refFieldPseudoMax: to.valueOf() });
    const times = filled.fields.find((field) => field.type === FieldType.time)?.values;
    return filled.fields.flatMap((field, i) => {
      const original = frame.fields[i];
      if (!times || field.type === FieldType.time || original.config.custom?.hideFrom?.viz) return [];
      return [{ name: getFieldDisplayName(original, frame, series), field: original, periods: periods(times, field.values, to.valueOf(), original, options) }];
    });
  });
}

function periods(times, values, end, field, { mergeValues }) {
  const found = [];
  values.forEach((value, i) => {
    if (value === undefined || (value === null && field.config.custom?.spanNulls)) return;
    const last = found.at(-1);
    if (last && mergeValues && last.value === value) return;
    if (last) last.end = times[i];
    found.push({ value, start: times[i], end });
  });
  return found.filter(({ value }) => value !== null).map((period) => ({ ...period, shown: field.display(period.value) }));
}

/** The first row's colour mode decides: its thresholds, nothing for a scale, else every value that occurs. */
function legendItems(rows) {
  const { color: { mode } = {}, thresholds: { steps = [] } = {} } = rows[0].field.config;
  const item = (label, color) => ({ label, color, yAxis: 1 });
  if (mode === 'thresholds' && steps.length > 1) return steps.map(({ value, color }, i) => item(i ? `${value}+` : `< ${steps[1].value}`, color));
  if (mode?.startsWith('continuous')) return [];
  const seen = new Map(rows.flatMap(({ periods: all }) => all.map(({ shown }) => [formattedValueToString(shown), shown.color])));
  return [...seen].filter(([label]) => label).map(([label, color]) => item(label, color));
}

function Timeline({ rows, options, width, height, context: { range, theme, timeZone } }) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const left = Math.min(Math.max(...rows.map(({ name }) => measureText(name, FONT).width)) + 16, width / 2);
  const x = (time) => left + ((Math.max(time, from) - from) / (to - from)) * (width - left);
  const rowHeight = (height - AXIS_HEIGHT) / rows.length;
  const text = { fontSize: FONT, fill: theme.colors.text.primary, dominantBaseline: 'central' };
  return (
    <svg width={width} height={height} style={{ display: 'block' }}>
      {ticks(from, to, width - left).filter((time) => x(time) < width - 1.5 * FONT).map((time) => (
        <text key={time} {...text} x={x(time)} y={height - AXIS_HEIGHT / 2} textAnchor="middle">{dateTimeFormat(time, { timeZone, format: tickFormat(from, to) })}</text>
      ))}
      {rows.map((row, i) => (
        <g key={i}>
          <text {...text} x={left - 8} y={(i + 0.5) * rowHeight} textAnchor="end">{row.name}</text>
          {row.periods.filter(({ end }) => end > from).map((period) => (
            <Block key={period.start} {...{ period, options, theme, text }} custom={row.field.config.custom ?? {}} x={x(period.start)}
              y={(i + (1 - options.rowHeight) / 2) * rowHeight} width={Math.max(x(period.end) - x(period.start), 1)} height={rowHeight * options.rowHeight} />
          ))}
        </g>
      ))}
    </svg>
  );
}

/** The text is cut where its block ends, and left out of blocks that have no room for two letters. */
function Block({ period: { shown }, options, theme, text, custom, x, y, width, height }) {
  const color = shown.color ?? theme.colors.text.primary;
  const written = options.showValue !== 'never' && (options.showValue === 'always' || width > 2 * FONT);
  const align = { left: ['start', 4], center: ['middle', width / 2], right: ['end', width - 4] }[options.alignValue];
  return (
    <svg x={x} y={y} width={width} height={height} overflow="hidden">
      <rect width={width} height={height} fill={color} fillOpacity={(custom.fillOpacity ?? 70) / 100} stroke={color} strokeWidth={custom.lineWidth ?? 0} />
      {written && <text {...text} x={align[1]} y={height / 2} textAnchor={align[0]} fontWeight={500} fill={theme.colors.getContrastText(color, 3)}>{formattedValueToString(shown)}</text>}
    </svg>
  );
}

function ticks(from, to, width) {
  const step = TICKS.find((one) => ((to - from) / one) * 90 < width) ?? TICKS.at(-1);
  const offset = new Date(from).getTimezoneOffset() * MINUTE;
  const first = Math.ceil((from - offset) / step) * step + offset;
  return Array.from({ length: Math.max(Math.floor((to - first) / step) + 1, 0) }, (_, i) => first + i * step);
}

const tickFormat = (from, to) => (to - from > 2 * 1440 * MINUTE ? 'MM/DD HH:mm' : 'HH:mm');
