// Where things are: the dashboard's head, its rows, and the grid of 24 columns.
import { Component } from 'react';
import { Button, Icon, PanelChrome, useTheme2 } from '@grafana/ui';

const COLUMNS = 24;
const CELL = 30;
const GAP = 8;
const EDGE = 16;

/** Every panel and row with its place in pixels. Collapsed rows are opened, and what follows moves down. */
export function place(panels, width) {
  const column = (width - 2 * EDGE - (COLUMNS - 1) * GAP) / COLUMNS;
  return open(panels).map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    return { panel, left: x * (column + GAP), top: y * (CELL + GAP), width: w * (column + GAP) - GAP, height: h * (CELL + GAP) - GAP };
  });
}

function open(panels) {
  let moved = 0;
  const down = (panel, by) => ({ ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + by } });
  return [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y).flatMap((panel) => {
    const here = down(panel, moved);
    if (panel.type !== 'row' || !panel.panels?.length) return [here];
    const first = Math.min(...panel.panels.map(({ gridPos }) => gridPos.y));
    const inside = panel.panels.map((one) => down(one, here.gridPos.y + 1 - first));
    moved += Math.max(...inside.map(({ gridPos }) => gridPos.y + gridPos.h)) - here.gridPos.y - 1;
    return [here, ...inside];
  });
}

export function Dashboard({ dashboard, width, items, variables, range }) {
  const theme = useTheme2();
  const bottom = Math.max(0, ...items.map(({ top, height }) => top + height));
  const shown = [...variables.values.values()].filter(({ hide }) => hide !== 2);
  const button = (key, text) => <Button key={key} size="sm" variant="secondary">{text}</Button>;
  return (
    <div style={{ background: theme.colors.background.canvas, color: theme.colors.text.primary, width, minHeight: '100vh', padding: EDGE, boxSizing: 'border-box' }}>
      <div style={{ height: 24, fontWeight: 500 }}>Dashboards › {dashboard.title}</div>
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: GAP, minHeight: 48, alignItems: 'center' }}>
        {shown.map(({ name, label, text }) => button(name, `${label}: ${text}`))}
        <div style={{ flex: 1 }} />
        {(dashboard.links ?? []).map(({ title }, i) => button(i, title))}
        {button('range', `${range.raw.from} to ${range.raw.to}`)}
      </div>
      <div style={{ position: 'relative', height: bottom }}>
        {items.map((item) => (
          <div key={item.panel.id} data-panel={item.panel.id} style={{ position: 'absolute', left: item.left, top: item.top, width: item.width, height: item.height }}>
            {item.panel.type === 'row' ? <Row title={item.title} /> : <Panel {...item} />}
          </div>
        ))}
      </div>
    </div>
  );
}

const Row = ({ title }) => <div style={{ display: 'flex', gap: GAP, alignItems: 'center', height: '100%', fontWeight: 500 }}><Icon name="angle-down" />{title}</div>;

function Panel({ panel, title, description, type, data, error, onError, width, height, context, annotations }) {
  return (
    <PanelChrome width={width} height={height} title={title} description={description} displayMode={panel.transparent ? 'transparent' : 'default'}>
      {(w, h) => (error ? <Failure message={error} /> : (
        <Guard onError={onError}><type.Component {...{ panel, data, context, annotations }} width={w} height={h} /></Guard>
      ))}
    </PanelChrome>
  );
}

const Failure = ({ message }) => <pre style={{ whiteSpace: 'pre-wrap' }}>{message}</pre>;

/** A panel that throws must not take the others with it. */
class Guard extends Component {
  state = { message: undefined };

  static getDerivedStateFromError(error) {
    return { message: error.message };
  }

  componentDidCatch(error) {
    this.props.onError(error.message);
  }

  render() {
    return this.state.message ? <Failure message={this.state.message} /> : this.props.children;
  }
}
