// The parts of ECharts that the analytics draw with; loaded when the first chart is.
import { BarChart, CustomChart, HeatmapChart, LineChart, PieChart, ScatterChart } from 'echarts/charts';
import {
  DataZoomComponent,
  GridComponent,
  MarkLineComponent,
  TitleComponent,
  TooltipComponent,
  VisualMapComponent,
} from 'echarts/components';
import { init, use } from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';

use([BarChart, CustomChart, HeatmapChart, LineChart, PieChart, ScatterChart, CanvasRenderer]);
use([DataZoomComponent, GridComponent, MarkLineComponent]);
use([TitleComponent, TooltipComponent, VisualMapComponent]);

export { init };
